export { FileList } from "./components/file-list";
export { fileChanges } from "./events";
