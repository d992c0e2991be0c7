import { infiniteQueryOptions, type QueryClient, queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";
import type { Message } from "./reducer";

export type Chat = Schemas["ChatRead"];
export type ChatUpdate = Schemas["ChatUpdate"];
export type Sent = Schemas["Sent"];
export type Shown = "active" | "archived" | "trash";
type Page<T> = { items: T[]; next_cursor: string | null };

export function chatsQuery(shown: Shown) {
  return infiniteQueryOptions({
    queryKey: ["chats", shown],
    queryFn: ({ pageParam, signal }) =>
      api<Page<Chat>>("GET", "/chats", {
        query: {
          archived: shown === "archived" ? "true" : undefined,
          trash: shown === "trash" ? "true" : undefined,
          cursor: pageParam,
        },
        signal,
      }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    staleTime: Number.POSITIVE_INFINITY, // kept right by the event stream
  });
}

export function chatQuery(chatId: string) {
  return queryOptions({
    queryKey: ["chat", chatId],
    queryFn: ({ signal }) => api<Chat>("GET", `/chats/${chatId}`, { signal }),
    staleTime: Number.POSITIVE_INFINITY,
  });
}

/** A run as it was told last; the event stream keeps it right. */
export function runQuery(runId: string | null) {
  return queryOptions({
    queryKey: ["run", runId],
    queryFn: ({ signal }) => api<Schemas["RunRead"]>("GET", `/runs/${runId}`, { signal }),
    enabled: runId !== null,
    staleTime: Number.POSITIVE_INFINITY,
  });
}

/** The branch on show, newest first. */
export function messagesQuery(chatId: string) {
  return infiniteQueryOptions({
    queryKey: ["messages", chatId],
    queryFn: ({ pageParam, signal }) => fetchMessages(chatId, { cursor: pageParam, signal }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    staleTime: Number.POSITIVE_INFINITY,
  });
}

function fetchMessages(
  chatId: string,
  options: { cursor?: string; signal?: AbortSignal },
): Promise<Page<Message>> {
  return api("GET", `/chats/${chatId}/messages`, {
    query: { cursor: options.cursor },
    signal: options.signal,
  });
}

type Pages<T> = { pages: Page<T>[]; pageParams: unknown[] };

/** Put a new or changed message where it belongs in what is loaded of its chat. */
export function placeMessage(client: QueryClient, message: Message): void {
  client.setQueryData<Pages<Message>>(["messages", message.chat_id], (loaded) => {
    if (!loaded || message.parent_message_id) return loaded;
    const items = loaded.pages.flatMap((page) => page.items);
    const last = loaded.pages.at(-1);
    const known = items.findIndex((item) => item.id === message.id);
    let next: Message[];
    if (known >= 0) {
      const before = items[known];
      // An older telling of the same message, which came by another way, must not undo a newer one.
      if (before && before.updated_at > message.updated_at) return loaded;
      next = items.with(known, message);
    } else {
      const previous = items.findIndex((item) => item.id === message.previous_message_id);
      if (previous < 0 && message.previous_message_id) return loaded;
      next = [message, ...(previous < 0 ? [] : items.slice(previous))];
    }
    const siblings = new Set(message.sibling_ids);
    next = next.map((item) => (siblings.has(item.id) ? { ...item, sibling_ids: message.sibling_ids } : item));
    const isWhole = next.at(-1)?.previous_message_id === null;
    return {
      pages: [{ items: next, next_cursor: isWhole ? null : (last?.next_cursor ?? null) }],
      pageParams: [undefined],
    };
  });
}

/** Put a new or changed chat into every list that it belongs to, and take it out of the others. */
export function placeChat(client: QueryClient, chat: Chat): void {
  client.setQueryData(["chat", chat.id], chat);
  const home: Shown = chat.deleted_at ? "trash" : chat.is_archived ? "archived" : "active";
  for (const shown of ["active", "archived", "trash"] as const) {
    client.setQueryData<Pages<Chat>>(["chats", shown], (loaded) => {
      if (!loaded) return loaded;
      const items = loaded.pages.flatMap((page) => page.items).filter((item) => item.id !== chat.id);
      const last = loaded.pages.at(-1);
      if (shown === home) {
        const at = items.findIndex((item) => item.last_message_at <= chat.last_message_at);
        const end = at < 0 ? items.length : at;
        // Older than all that is loaded, with more to come: it arrives with its page.
        if (at >= 0 || !last?.next_cursor) items.splice(end, 0, chat);
      }
      return { pages: [{ items, next_cursor: last?.next_cursor ?? null }], pageParams: [undefined] };
    });
  }
}

/** Show the branch that the head names; what is on the screen stays until it is there. */
export async function showHead(client: QueryClient, chat: Chat): Promise<void> {
  const loaded = client.getQueryData<Pages<Message>>(["messages", chat.id]);
  if (!loaded || loaded.pages[0]?.items[0]?.id === (chat.head_message_id ?? undefined)) return;
  const page = await fetchMessages(chat.id, {});
  client.setQueryData<Pages<Message>>(["messages", chat.id], { pages: [page], pageParams: [undefined] });
}

export function placeSent(client: QueryClient, sent: Sent): void {
  placeMessage(client, sent.message);
  if (sent.reply && sent.reply.id !== sent.message.id) placeMessage(client, sent.reply);
  if (sent.run) client.setQueryData(["run", sent.run.id], sent.run);
}

export const createChat = (fields: Schemas["ChatCreate"], key: string) =>
  api<Chat>("POST", "/chats", { body: fields, key });

export const sendMessage = (chatId: string, content: string, key: string) =>
  api<Sent>("POST", `/chats/${chatId}/messages`, { body: { content }, key });

export const editMessage = (messageId: string, content: string, key: string) =>
  api<Sent>("POST", `/messages/${messageId}/edit`, { body: { content }, key });

export const regenerateMessage = (messageId: string) =>
  api<Sent>("POST", `/messages/${messageId}/regenerate`, { body: {} });

export const continueMessage = (messageId: string) => api<Sent>("POST", `/messages/${messageId}/continue`);

export const cancelRun = (runId: string) => api<Schemas["RunRead"]>("POST", `/runs/${runId}/cancel`);

export const updateChat = (chatId: string, update: ChatUpdate) =>
  api<Chat>("PATCH", `/chats/${chatId}`, { body: update });

export const deleteChat = (chatId: string) => api<void>("DELETE", `/chats/${chatId}`);
export const restoreChat = (chatId: string) => api<Chat>("POST", `/chats/${chatId}/restore`);

export const setHead = (chatId: string, messageId: string) =>
  api<Chat>("PUT", `/chats/${chatId}/head`, { body: { message_id: messageId } });

export const getMessage = (messageId: string) => api<Message>("GET", `/messages/${messageId}`);
