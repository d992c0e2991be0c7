export { SearchView } from "./components/search-view";
export type { Who } from "./queries";
