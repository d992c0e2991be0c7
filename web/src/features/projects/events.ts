import type { QueryClient } from "@tanstack/react-query";
import { ApiError } from "@/api/client";
import type { ChangeHandlers } from "@/realtime/protocol";

/** How loaded projects follow their changes. */
export const projectChanges: ChangeHandlers<"project"> = {
  project: (client, change) => {
    void client.invalidateQueries({ queryKey: ["projects"] });
    void client.invalidateQueries({ queryKey: ["project", change.entity_id] });
    void client.invalidateQueries({ queryKey: ["project-chats", change.entity_id] });
    void readOpenChats(client);
  },
};

/** Read again what a member may do with the chats that are open, and forget those that they may not read any more. */
async function readOpenChats(client: QueryClient): Promise<void> {
  await client.invalidateQueries({ queryKey: ["chat"] });
  const lost = client
    .getQueryCache()
    .findAll({ queryKey: ["chat"] })
    .filter(({ state }) => state.error instanceof ApiError && state.error.status === 404);
  for (const { queryKey } of lost) {
    client.removeQueries({ queryKey: ["messages", queryKey[1]] });
    void client.resetQueries({ queryKey, exact: true });
  }
}
