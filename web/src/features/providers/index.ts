export { ProviderList } from "./components/provider-list";
