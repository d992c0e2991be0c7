import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";

export type Vendor = Schemas["VendorRead"];
export type ProviderConfig = Schemas["ProviderConfigRead"];
export type ProviderTest = Schemas["ProviderTest"];
type Page = { items: ProviderConfig[]; next_cursor: string | null };

export const vendorsQuery = queryOptions({
  queryKey: ["providers"],
  queryFn: ({ signal }) =>
    api<Schemas["VendorList"]>("GET", "/providers", { signal }).then((list) => list.items),
  staleTime: Number.POSITIVE_INFINITY,
});

export const configsQuery = infiniteQueryOptions({
  queryKey: ["provider_config"],
  queryFn: ({ pageParam, signal }) =>
    api<Page>("GET", "/provider-configs", { query: { cursor: pageParam, limit: "200" }, signal }),
  initialPageParam: undefined as string | undefined,
  getNextPageParam: (page) => page.next_cursor ?? undefined,
});

export const createConfig = (body: Schemas["ProviderConfigCreate"], key: string) =>
  api<ProviderConfig>("POST", "/provider-configs", { body, key });
export const updateConfig = (id: string, body: Schemas["ProviderConfigUpdate"]) =>
  api<ProviderConfig>("PATCH", `/provider-configs/${id}`, { body });
export const removeConfig = (id: string) => api<void>("DELETE", `/provider-configs/${id}`);
export const testConfig = (id: string) => api<ProviderTest>("POST", `/provider-configs/${id}/test`);
