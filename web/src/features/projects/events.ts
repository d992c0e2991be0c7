import type { QueryClient } from "@tanstack/react-query";
import { ApiError } from "@/api/client";
import { throttled } from "@/lib/throttled";
import type { ChangeHandlers, ChangeOf } from "@/realtime/protocol";
import { channelsQuery, getChannel, placeChannel } from "./queries";

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
const counting = new WeakMap<QueryClient, Map<string, () => void>>();

/** Count again what is unread after a message of a channel: at once, then at most every two seconds while many write. */
export function countUnread(client: QueryClient, change: ChangeOf<"message">): void {
  const chatId = change.topic.slice("chat:".length);
  const channel = client.getQueryData(channelsQuery.queryKey)?.find((item) => item.chat_id === chatId);
  if (!channel) return;
  const counters = counting.get(client) ?? new Map<string, () => void>();
  counting.set(client, counters);
  const count =
    counters.get(channel.id) ??
    throttled(COUNTED_EACH_MS, () => {
      // A channel that is gone leaves the list with the change of its project.
      void getChannel(channel.id)
        .then((counted) => placeChannel(client, counted))
        .catch(() => undefined);
    });
  counters.set(channel.id, count);
  count();
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
