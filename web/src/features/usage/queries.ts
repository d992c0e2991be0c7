import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";
import type { Period } from "./periods";

export type Usage = Schemas["UsageReport"];
export type UsageGroup = Schemas["UsageGroup"];
export type Whose = "me" | "everyone";

/** Which days to sum, in which time zone, and of whom. */
export type Wanted = Period & { timeZone: string; of: Whose };

const parameters = (groupBy: string, { since, until, timeZone, of }: Wanted) => ({
  since,
  until,
  group_by: groupBy,
  time_zone: timeZone,
  of,
});

/** The sums of a period by groups, with days where the user is. */
export function usageQuery(groupBy: string, wanted: Wanted) {
  return queryOptions({
    queryKey: ["usage", groupBy, wanted],
    queryFn: ({ signal }) => api<Usage>("GET", "/usage", { query: parameters(groupBy, wanted), signal }),
    placeholderData: keepPreviousData,
    staleTime: 10_000,
  });
}

/** Return the address of the sums as a file, which the browser downloads. */
export function usageExportPath(wanted: Wanted, format: "csv" | "json"): string {
  const groups = wanted.of === "me" ? "day,provider,model,chat" : "day,provider,model,user";
  return `/api/v1/usage/export?${new URLSearchParams({ ...parameters(groups, wanted), format })}`;
}
