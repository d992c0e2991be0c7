import type { QueryClient } from "@tanstack/react-query";
import type { ChangeHandlers } from "@/realtime/protocol";

/** Read limits again after one was set, changed or deleted. */
export function refreshLimits(client: QueryClient): void {
  for (const key of ["quotas", "limits", "limit-notices"]) void client.invalidateQueries({ queryKey: [key] });
}

/** How loaded limits and plans follow their changes. */
export const billingChanges: ChangeHandlers<"quota" | "quota_notice" | "plan"> = {
  quota: refreshLimits,
  quota_notice: (client) => {
    for (const key of ["limits", "limit-notices"]) void client.invalidateQueries({ queryKey: [key] });
  },
  plan: (client) => {
    for (const key of ["plans", "subscription", "limits", "models", "people-use"])
      void client.invalidateQueries({ queryKey: [key] });
  },
};
