import { queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";

export type Report = Schemas["SecurityReport"];
export type Sizes = Schemas["LargestUsers"];

export const securityReportQuery = queryOptions({
  queryKey: ["security-report"],
  queryFn: ({ signal }) => api<Report>("GET", "/security-report", { signal }),
});

export const largestUsersQuery = queryOptions({
  queryKey: ["largest-users"],
  queryFn: ({ signal }) => api<Sizes>("GET", "/largest-users", { signal }),
});
