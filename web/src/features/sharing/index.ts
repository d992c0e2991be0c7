export { ShareDialog } from "./components/share-dialog";
export { sharesQuery } from "./queries";
