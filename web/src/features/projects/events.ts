import type { QueryClient } from "@tanstack/react-query";
import { ApiError } from "@/api/client";
import type { ChangeHandlers, ChangeOf } from "@/realtime/protocol";
import { channelsQuery, placeChannel } from "./queries";

/** How loaded projects follow their changes. */
export const projectChanges: ChangeHandlers<"project" | "channel"> = {
  channel: (client, change) => {
    if (change.payload) placeChannel(client, change.payload);
    else void client.invalidateQueries({ queryKey: channelsQuery.queryKey });
  },
  project: (client, change) => {
    void client.invalidateQueries({ queryKey: channelsQuery.queryKey });
    void client.invalidateQueries({ queryKey: ["projects"] });
    void client.invalidateQueries({ queryKey: ["project", change.entity_id] });
    void client.invalidateQueries({ queryKey: ["project-chats", change.entity_id] });
    void readOpenChats(client);
  },
};

const COUNTED_EACH_MS = 2000;
const counting = new WeakMap<QueryClient, ReturnType<typeof setTimeout>>();

/** Count again what is unread after a message of a channel: at once, then at most every two seconds while many write. */
export function countUnread(client: QueryClient, change: ChangeOf<"message">): void {
  const chatId = change.topic.slice("chat:".length);
  const isOfChannel = client
    .getQueryData(channelsQuery.queryKey)
    ?.some((channel) => channel.chat_id === chatId);
  if (!isOfChannel || counting.has(client)) return;
  const count = () => client.invalidateQueries({ queryKey: channelsQuery.queryKey });
  void count();
  counting.set(
    client,
    setTimeout(() => {
      counting.delete(client);
      void count();
    }, COUNTED_EACH_MS),
  );
}

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
