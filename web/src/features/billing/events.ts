import type { ChangeHandlers } from "@/realtime/protocol";

/** How loaded limits and plans follow their changes. */
export const billingChanges: ChangeHandlers<"quota" | "quota_notice" | "plan"> = {
  quota: (client) => {
    void client.invalidateQueries({ queryKey: ["quotas"] });
    void client.invalidateQueries({ queryKey: ["limits"] });
  },
  quota_notice: (client) => void client.invalidateQueries({ queryKey: ["limits"] }),
  plan: (client) => {
    for (const key of ["plans", "subscription", "limits", "models"])
      void client.invalidateQueries({ queryKey: [key] });
  },
};
