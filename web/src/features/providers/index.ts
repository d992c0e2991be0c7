export { ProviderList } from "./components/provider-list";
export { providerChanges } from "./events";
