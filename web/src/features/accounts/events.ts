import type { ChangeHandlers } from "@/realtime/protocol";

/** How the loaded account, devices and tokens follow their changes. */
export const accountChanges: ChangeHandlers<"user" | "session" | "api_token"> = {
  user: (client, change) => {
    client.setQueryData(["me"], change.payload);
  },
  session: (client) => void client.invalidateQueries({ queryKey: ["session"] }),
  api_token: (client) => void client.invalidateQueries({ queryKey: ["api_token"] }),
};
