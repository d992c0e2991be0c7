import type { QueryClient } from "@tanstack/react-query";
import { ApiError } from "@/api/client";
import type { ChangeEvent } from "@/realtime/protocol";
import { type Chat, chatQuery, getMessage, placeChat, placeMessage, showHead } from "./queries";
import type { Message } from "./reducer";

/** Bring what is loaded of chats and messages to what a change tells. */
export async function applyChange(client: QueryClient, change: ChangeEvent): Promise<void> {
  switch (change.entity) {
    case "message":
      return applyMessage(client, change);
    case "chat":
      return applyChat(client, change);
    case "run":
      client.setQueryData(["run", change.entity_id], change.payload);
      return;
    case "user":
      client.setQueryData(["me"], change.payload);
  }
}

async function applyMessage(client: QueryClient, change: ChangeEvent): Promise<void> {
  const chatId = change.topic.slice("chat:".length);
  if (!client.getQueryData(["messages", chatId])) return;
  try {
    placeMessage(client, (change.payload as Message | null) ?? (await getMessage(change.entity_id)));
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) throw error;
  }
}

async function applyChat(client: QueryClient, change: ChangeEvent): Promise<void> {
  const chat =
    (change.payload as Chat | null) ??
    (await client.fetchQuery({ ...chatQuery(change.entity_id), staleTime: 0 }).catch(() => null));
  if (!chat) return;
  placeChat(client, chat);
  await showHead(client, chat);
}
