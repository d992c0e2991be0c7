export { FileList } from "./components/file-list";
