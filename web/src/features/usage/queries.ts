import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";

export type Usage = Schemas["UsageReport"];
export type UsageGroup = Schemas["UsageGroup"];

/** The totals of the last days including today, in the user's time zone. */
export function usageQuery(groupBy: string, days: number) {
  return queryOptions({
    queryKey: ["usage", groupBy, days],
    queryFn: ({ signal }) => {
      const since = new Date();
      since.setHours(0, 0, 0, 0);
      since.setDate(since.getDate() - days + 1);
      const query = {
        since: since.toISOString(),
        group_by: groupBy,
        utc_offset: String(-since.getTimezoneOffset()),
      };
      return api<Usage>("GET", "/usage", { query, signal });
    },
    placeholderData: keepPreviousData,
    staleTime: 10_000,
  });
}
