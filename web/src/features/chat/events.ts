import type { QueryClient } from "@tanstack/react-query";
import { ApiError } from "@/api/client";
import type { ChangeEvent } from "@/realtime/protocol";
import {
  type Chat,
  chatQuery,
  forgetChat,
  getMessage,
  isBetween,
  newestShown,
  placeChat,
  placeMessage,
  removeMessage,
} from "./queries";
import type { Message } from "./reducer";

/** Bring what is loaded of chats and messages to what a change tells. */
export async function applyChange(client: QueryClient, change: ChangeEvent): Promise<void> {
  switch (change.entity) {
    case "message":
      return applyMessage(client, change);
    case "chat":
      return applyChat(client, change);
    case "run":
      if (change.payload) client.setQueryData(["run", change.entity_id], change.payload);
      else void client.invalidateQueries({ queryKey: ["run", change.entity_id] });
      return;
    case "user":
      client.setQueryData(["me"], change.payload);
      return;
    case "context_optimization": {
      const chatId = change.topic.slice("chat:".length);
      void client.invalidateQueries({ queryKey: ["context-optimizations", chatId] });
      void client.invalidateQueries({ queryKey: ["context", chatId] });
      return;
    }
    case "attachment":
      client.setQueryData(["attachment", change.entity_id], change.payload);
      return;
    case "share":
      void client.invalidateQueries({ queryKey: ["shared-chats"] });
      void client.invalidateQueries({ queryKey: ["shares"] });
  }
}

async function applyMessage(client: QueryClient, change: ChangeEvent): Promise<void> {
  const chatId = change.topic.slice("chat:".length);
  void client.invalidateQueries({ queryKey: ["context", chatId] });
  if (change.operation !== "updated") void client.invalidateQueries({ queryKey: ["tree", chatId] });
  if (!client.getQueryData(["messages", chatId])) return;
  if (change.operation === "deleted" && !change.payload) {
    // Of another's chat it is not told what was there: what is on show is asked for anew.
    await client.invalidateQueries({ queryKey: ["messages", chatId] });
    await client.invalidateQueries({ queryKey: ["thread"] });
    return;
  }
  try {
    const message = (change.payload as Message | null) ?? (await getMessage(change.entity_id));
    if (message.parent_message_id) {
      if (change.operation === "deleted") removeMessage(client, message);
      else placeMessage(client, message);
    } else if (change.operation === "deleted") {
      const wasLast = newestShown(client, chatId) === message.id;
      removeMessage(client, message);
      // At the end of a branch, another version may come into its place.
      if (wasLast) await client.invalidateQueries({ queryKey: ["messages", chatId] });
    } else if (change.operation === "created" && isBetween(client, message))
      await client.invalidateQueries({ queryKey: ["messages", chatId] });
    else placeMessage(client, message);
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) throw error;
  }
}

async function applyChat(client: QueryClient, change: ChangeEvent): Promise<void> {
  void client.invalidateQueries({ queryKey: ["context", change.entity_id] });
  if (change.operation === "deleted" && !change.payload) return forgetChat(client, change.entity_id);
  const chat =
    (change.payload as Chat | null) ??
    (await client.fetchQuery({ ...chatQuery(change.entity_id), staleTime: 0 }).catch(() => null));
  if (chat) placeChat(client, chat);
}
