export { Transfer } from "./components/transfer";
export { transferChanges } from "./events";
