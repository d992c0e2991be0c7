export { SearchView } from "./components/search-view";
export { titlesQuery } from "./queries";
