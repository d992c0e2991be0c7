import type { QueryClient } from "@tanstack/react-query";
import { ApiError } from "@/api/client";
import type { ChangeHandlers, ChangeOf } from "@/realtime/protocol";
import {
  forgetChat,
  isBetween,
  isChannel,
  placeChat,
  placeInChannel,
  placeMessage,
  removeMessage,
} from "./cache";
import { chatQuery, getMessage, newestShown } from "./queries";

/** How loaded chats, messages, runs, tags and shares follow their changes. */
export const chatChanges: ChangeHandlers<
  "message" | "chat" | "run" | "tag" | "share" | "context_optimization"
> = {
  message: applyMessage,
  chat: async (client, change) => {
    void client.invalidateQueries({ queryKey: ["tagged"] });
    void client.invalidateQueries({ queryKey: ["project-chats"] });
    if (change.operation !== "updated") void client.invalidateQueries({ queryKey: ["draft-chats"] });
    await applyChat(client, change);
  },
  run: (client, change) => {
    if (change.payload) client.setQueryData(["run", change.entity_id], change.payload);
    else void client.invalidateQueries({ queryKey: ["run", change.entity_id] });
    if (change.operation === "updated") void client.invalidateQueries({ queryKey: ["usage"] });
  },
  tag: (client) => {
    void client.invalidateQueries({ queryKey: ["tags"] });
    void client.invalidateQueries({ queryKey: ["tagged"] });
  },
  share: (client) => {
    void client.invalidateQueries({ queryKey: ["shared-chats"] });
    void client.invalidateQueries({ queryKey: ["shared-drafts"] });
    void client.invalidateQueries({ queryKey: ["draft"] });
    void client.invalidateQueries({ queryKey: ["shares"] });
  },
  context_optimization: (client, change) => {
    const chatId = change.topic.slice("chat:".length);
    void client.invalidateQueries({ queryKey: ["context-optimizations", chatId] });
    void client.invalidateQueries({ queryKey: ["context", chatId] });
  },
};

async function applyMessage(client: QueryClient, change: ChangeOf<"message">): Promise<void> {
  const chatId = change.topic.slice("chat:".length);
  void client.invalidateQueries({ queryKey: ["context", chatId] });
  if (change.operation !== "updated") void client.invalidateQueries({ queryKey: ["tree", chatId] });
  if (!client.getQueryData(["messages", chatId])) return;
  if (change.operation === "deleted" && !change.payload) {
    // For another user's chat the change has no payload, so the branch is fetched again.
    await client.invalidateQueries({ queryKey: ["messages", chatId] });
    await client.invalidateQueries({ queryKey: ["thread"] });
    return;
  }
  try {
    const message = change.payload ?? (await getMessage(change.entity_id));
    if (message.parent_message_id) {
      if (change.operation === "deleted") removeMessage(client, message);
      else placeMessage(client, message);
    } else if (change.operation === "deleted") {
      const wasLast = newestShown(client, chatId) === message.id;
      removeMessage(client, message);
      // At the end of a branch, another version may take its place.
      if (wasLast) await client.invalidateQueries({ queryKey: ["messages", chatId] });
    } else if (change.operation === "created" && isBetween(client, message))
      await client.invalidateQueries({ queryKey: ["messages", chatId] });
    else if (isChannel(client, chatId)) await placeInChannel(client, message, change.operation === "created");
    else placeMessage(client, message);
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) throw error;
  }
}

async function applyChat(client: QueryClient, change: ChangeOf<"chat">): Promise<void> {
  void client.invalidateQueries({ queryKey: ["context", change.entity_id] });
  if (change.operation === "deleted" && !change.payload) return forgetChat(client, change.entity_id);
  const chat =
    change.payload ??
    (await client.fetchQuery({ ...chatQuery(change.entity_id), staleTime: 0 }).catch(() => null));
  if (chat) placeChat(client, chat);
}
