import type { QueryClient } from "@tanstack/react-query";
import type { ChangeHandlers } from "@/realtime/protocol";

/** Read limits again after one was set, changed or deleted. */
export function refreshLimits(client: QueryClient): void {
  for (const key of ["quotas", "limits"]) void client.invalidateQueries({ queryKey: [key] });
}

/** How loaded limits and plans follow their changes. */
export const billingChanges: ChangeHandlers<"quota" | "quota_notice" | "plan"> = {
  quota: refreshLimits,
  quota_notice: (client) => void client.invalidateQueries({ queryKey: ["limits"] }),
  plan: (client) => {
    for (const key of ["plans", "subscription", "limits", "models", "people-use"])
      void client.invalidateQueries({ queryKey: [key] });
  },
};
