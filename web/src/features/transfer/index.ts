export { Transfer } from "./components/transfer";
