import type { ChangeHandlers } from "@/realtime/protocol";

/** How loaded providers and their models follow their changes. */
export const providerChanges: ChangeHandlers<"provider_config"> = {
  provider_config: (client) => {
    void client.invalidateQueries({ queryKey: ["provider_config"] });
    void client.invalidateQueries({ queryKey: ["models"] });
  },
};
