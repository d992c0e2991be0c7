import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";
import type { Period } from "./periods";

export type Usage = Schemas["UsageReport"];
export type UsageGroup = Schemas["UsageGroup"];
export type Whose = "me" | "everyone";

function parameters(groupBy: string, { since, until }: Period, of: Whose) {
  return {
    since: since.toISOString(),
    until: until.toISOString(),
    group_by: groupBy,
    time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    of,
  };
}

/** The sums of a period by groups, with days where the user is. */
export function usageQuery(groupBy: string, period: Period, of: Whose) {
  return queryOptions({
    queryKey: ["usage", groupBy, period.since.getTime(), period.until.getTime(), of],
    queryFn: ({ signal }) => api<Usage>("GET", "/usage", { query: parameters(groupBy, period, of), signal }),
    placeholderData: keepPreviousData,
    staleTime: 10_000,
  });
}

/** Return the address of the sums as a file, which the browser downloads. */
export function usageExportPath(period: Period, of: Whose, format: "csv" | "json"): string {
  const groups = of === "me" ? "day,provider,model,chat" : "day,provider,model,user";
  return `/api/v1/usage/export?${new URLSearchParams({ ...parameters(groups, period, of), format })}`;
}
