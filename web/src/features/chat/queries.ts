import { infiniteQueryOptions, type QueryClient, queryOptions } from "@tanstack/react-query";
import { ApiError, api, type Schemas } from "@/api/client";
import type { Message } from "./reducer";

export type Chat = Schemas["ChatRead"];
export type ChatUpdate = Schemas["ChatUpdate"];
export type Sent = Schemas["Sent"];
export type Shown = "active" | "pinned" | "archived" | "trash";
export type Page<T> = { items: T[]; next_cursor: string | null };
const NEAR = 50; // messages per page
const FAR = 200; // page size on the way to an old message; the server's limit
type Pages<T> = { pages: Page<T>[]; pageParams: unknown[] };

/** Chats with a tag. Refetched when a chat changes, because few lists are open at a time. */
export function taggedQuery(tagId: string) {
  return infiniteQueryOptions({
    queryKey: ["tagged", tagId],
    queryFn: ({ pageParam, signal }) =>
      api<Page<Chat>>("GET", "/chats", { query: { tag: tagId, cursor: pageParam }, signal }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });
}

export function chatsQuery(shown: Shown) {
  return infiniteQueryOptions({
    queryKey: ["chats", shown],
    queryFn: ({ pageParam, signal }) =>
      api<Page<Chat>>("GET", "/chats", {
        query: {
          archived: shown === "archived" ? "true" : undefined,
          trash: shown === "trash" ? "true" : undefined,
          pinned: shown === "pinned" ? "true" : undefined,
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

/** The state of a run, kept up to date by the event stream. */
export function runQuery(runId: string | null) {
  return queryOptions({
    queryKey: ["run", runId],
    queryFn: ({ signal }) => api<Schemas["RunRead"]>("GET", `/runs/${runId}`, { signal }),
    enabled: runId !== null,
    staleTime: Number.POSITIVE_INFINITY,
  });
}

/** The branch shown in this window, newest first. Another window may show another branch. */
export function messagesQuery(chatId: string) {
  return infiniteQueryOptions({
    queryKey: ["messages", chatId],
    queryFn: async ({ pageParam, signal, client }): Promise<Page<Message>> => {
      if (pageParam !== undefined) return fetchMessages(chatId, { cursor: pageParam, signal });
      const shown = client.getQueryData<Pages<Message>>(["messages", chatId])?.pages[0]?.items ?? [];
      const newest = shown[0];
      const limit = String(Math.min(FAR, Math.max(NEAR, shown.length))); // as many as are loaded
      try {
        return await fetchMessages(chatId, { through: newest?.id, limit, signal });
      } catch (error) {
        // The message was deleted, so show the chat's default branch.
        if (newest && error instanceof ApiError && error.status === 404)
          return fetchMessages(chatId, { signal });
        throw error;
      }
    },
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    staleTime: Number.POSITIVE_INFINITY,
  });
}

function fetchMessages(
  chatId: string,
  {
    signal,
    ...query
  }: { cursor?: string; through?: string; parent?: string; limit?: string; signal?: AbortSignal },
): Promise<Page<Message>> {
  return api("GET", `/chats/${chatId}/messages`, { query, signal });
}

/** The shown branch of the thread below a message, newest first. */
export function threadQuery(chatId: string, parentId: string) {
  return infiniteQueryOptions({
    queryKey: ["thread", parentId],
    queryFn: ({ pageParam, signal }): Promise<Page<Message>> =>
      fetchMessages(chatId, { parent: parentId, cursor: pageParam, signal }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    staleTime: Number.POSITIVE_INFINITY,
  });
}

/** One message outside its branch. */
export function messageQuery(messageId: string) {
  return queryOptions({
    queryKey: ["message", messageId],
    queryFn: ({ signal }) => api<Message>("GET", `/messages/${messageId}`, { signal }),
    staleTime: Number.POSITIVE_INFINITY,
  });
}

export function treeQuery(chatId: string) {
  return queryOptions({
    queryKey: ["tree", chatId],
    queryFn: ({ signal }) => api<Schemas["ChatTree"]>("GET", `/chats/${chatId}/tree`, { signal }),
  });
}

/**
 * Place a new or changed message into the loaded branch. A message of this window (`isOwn`) replaces the shown branch from
 * its place on. Messages of others extend the branch or become siblings.
 */
export function placeMessage(client: QueryClient, message: Message, isOwn = false): void {
  const key = message.parent_message_id
    ? ["thread", message.parent_message_id]
    : ["messages", message.chat_id];
  client.setQueryData<Message>(["message", message.id], (known) =>
    !known || known.updated_at > message.updated_at ? known : message,
  );
  // A reply whose parent was deleted has no thread to show.
  if (message.thread_level > 0 && !message.parent_message_id) return;
  client.setQueryData<Pages<Message>>(key, (loaded) => {
    if (!loaded) return loaded;
    const items = loaded.pages.flatMap((page) => page.items);
    const last = loaded.pages.at(-1);
    const known = items.findIndex((item) => item.id === message.id);
    let next: Message[];
    if (known >= 0) {
      const before = items[known];
      // An older version of the message, received another way, must not replace a newer one.
      if (before && before.updated_at > message.updated_at) return loaded;
      next = items.with(known, message);
    } else {
      const previous = items.findIndex((item) => item.id === message.previous_message_id);
      const goesOn = previous === 0 || (items.length === 0 && !message.previous_message_id);
      const replaces = isOwn && (previous >= 0 || !message.previous_message_id);
      next = goesOn || replaces ? [message, ...(previous < 0 ? [] : items.slice(previous))] : items;
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

/** Place a new or changed chat into the lists that it belongs to, and remove it from the others. */
export function placeChat(client: QueryClient, chat: Chat): void {
  client.setQueryData(["chat", chat.id], chat);
  if (chat.owner) {
    void client.invalidateQueries({ queryKey: ["shared-chats"] });
    return; // chats of other users have their own list
  }
  if (chat.kind === "draft" || chat.kind === "channel") return; // listed with its draft or its project
  const home: Shown = chat.deleted_at ? "trash" : chat.is_archived ? "archived" : "active";
  for (const shown of ["active", "pinned", "archived", "trash"] as const) {
    const belongs = shown === home || (shown === "pinned" && home === "active" && chat.pinned_at !== null);
    client.setQueryData<Pages<Chat>>(["chats", shown], (loaded) => {
      if (!loaded) return loaded;
      const items = loaded.pages.flatMap((page) => page.items).filter((item) => item.id !== chat.id);
      const last = loaded.pages.at(-1);
      if (belongs) {
        const at = items.findIndex((item) => item.last_message_at <= chat.last_message_at);
        const end = at < 0 ? items.length : at;
        // Older than everything loaded: it arrives with its page.
        if (at >= 0 || !last?.next_cursor) items.splice(end, 0, chat);
      }
      return { pages: [{ items, next_cursor: last?.next_cursor ?? null }], pageParams: [undefined] };
    });
  }
}

/** Remove a chat that was deleted permanently or is no longer shared. */
export function forgetChat(client: QueryClient, chatId: string): void {
  for (const shown of ["active", "pinned", "archived", "trash"] as const)
    client.setQueryData<Pages<Chat>>(["chats", shown], (loaded) => {
      if (!loaded) return loaded;
      const items = loaded.pages.flatMap((page) => page.items).filter((item) => item.id !== chatId);
      return {
        pages: [{ items, next_cursor: loaded.pages.at(-1)?.next_cursor ?? null }],
        pageParams: [undefined],
      };
    });
  void client.invalidateQueries({ queryKey: ["shared-chats"] });
}

/** Remove a message from the cache. Its successors follow its predecessor. */
export function removeMessage(client: QueryClient, message: Message): void {
  client.removeQueries({ queryKey: ["message", message.id] });
  const key = message.parent_message_id
    ? ["thread", message.parent_message_id]
    : ["messages", message.chat_id];
  client.setQueryData<Pages<Message>>(key, (loaded) => {
    if (!loaded) return loaded;
    const items = loaded.pages
      .flatMap((page) => page.items)
      .filter((item) => item.id !== message.id)
      .map((item) => ({
        ...item,
        sibling_ids: item.sibling_ids.filter((id) => id !== message.id),
        previous_message_id:
          item.previous_message_id === message.id ? message.previous_message_id : item.previous_message_id,
      }));
    return {
      pages: [{ items, next_cursor: loaded.pages.at(-1)?.next_cursor ?? null }],
      pageParams: [undefined],
    };
  });
}

/** Return whether a message is older than the newest one shown, as a restored message is. */
export function isBetween(client: QueryClient, message: Message): boolean {
  const items = client.getQueryData<Pages<Message>>(["messages", message.chat_id])?.pages[0]?.items ?? [];
  const newest = items[0];
  return newest !== undefined && newest.created_at > message.created_at;
}

let lastAsked = 0; // of two requests, only the later one is shown

/** Show the branch through a message in this window. The current branch stays until the new one is loaded. */
export async function showBranch(
  client: QueryClient,
  chatId: string,
  messageId?: string,
  parentId?: string,
): Promise<void> {
  const request = ++lastAsked;
  const queryKey = parentId ? ["thread", parentId] : ["messages", chatId];
  // A running request would bring the old branch.
  await client.cancelQueries({ queryKey });
  const page = await fetchMessages(chatId, { through: messageId, parent: parentId });
  if (request !== lastAsked) return;
  client.setQueryData<Pages<Message>>(queryKey, { pages: [page], pageParams: [undefined] });
  void client.invalidateQueries(contextQuery(chatId)); // another branch has another context
}

export function newestShown(client: QueryClient, chatId: string): string | null {
  return client.getQueryData<Pages<Message>>(["messages", chatId])?.pages[0]?.items[0]?.id ?? null;
}

/** Load a message with its branch, and everything between it and the newest. */
export async function showTarget(client: QueryClient, chatId: string, messageId: string): Promise<void> {
  const loaded = client.getQueryData<Pages<Message>>(["messages", chatId])?.pages ?? [];
  if (loaded.some((page) => page.items.some((item) => item.id === messageId))) return;
  await client.cancelQueries({ queryKey: ["messages", chatId] });
  const items: Message[] = [];
  let cursor: string | undefined;
  do {
    const page = await fetchMessages(chatId, { through: messageId, limit: String(FAR), cursor });
    items.push(...page.items);
    cursor = page.next_cursor ?? undefined;
  } while (cursor && !items.some((item) => item.id === messageId));
  client.setQueryData<Pages<Message>>(["messages", chatId], {
    pages: [{ items, next_cursor: cursor ?? null }],
    pageParams: [undefined],
  });
}

/** Return the newest message shown here if the chat's head is on another branch, so that new messages follow it. */
export function ownLeaf(client: QueryClient, chatId: string): string | undefined {
  const head = client.getQueryData<Chat>(["chat", chatId])?.head_message_id;
  const items = client
    .getQueryData<Pages<Message>>(["messages", chatId])
    ?.pages.flatMap((page) => page.items);
  return items?.length && head && !items.some((item) => item.id === head) ? items[0]?.id : undefined;
}

/** Return whether a chat is a channel, where messages of all people follow one another. */
export const isChannel = (client: QueryClient, chatId: string) =>
  client.getQueryData<Chat>(["chat", chatId])?.kind === "channel";

/**
 * Place a new message of a channel. If another one is missing before it, the newest are fetched again: messages of
 * several people arrive in any order.
 */
export async function placeInChannel(client: QueryClient, message: Message, isNew: boolean): Promise<void> {
  placeMessage(client, message, false);
  if (!isNew || message.thread_level > 0) return;
  const loaded = client.getQueryData<Pages<Message>>(["messages", message.chat_id]);
  const isShown = loaded?.pages.some((page) => page.items.some((item) => item.id === message.id));
  if (loaded && !isShown) await client.invalidateQueries({ queryKey: ["messages", message.chat_id] });
}

export function placeSent(client: QueryClient, sent: Sent): void {
  if (isChannel(client, sent.message.chat_id)) return void placeInChannel(client, sent.message, true);
  placeMessage(client, sent.message, true);
  if (sent.reply && sent.reply.id !== sent.message.id) placeMessage(client, sent.reply, true);
  if (sent.run) client.setQueryData(["run", sent.run.id], sent.run);
  for (const { reply, run } of sent.others) {
    client.setQueryData(["message", reply.id], reply);
    placeMessage(client, reply);
    client.setQueryData(["run", run.id], run);
  }
}

export const createChat = (fields: Schemas["ChatCreate"], key: string) =>
  api<Chat>("POST", "/chats", { body: fields, key });

export type ModelRef = Schemas["ModelRef"];
export type ReplyOptions = Schemas["ReplyOptions"];

export const sendMessage = (
  chatId: string,
  content: string,
  key: string,
  more: {
    models?: ModelRef[];
    previous_message_id?: string;
    parent_message_id?: string;
    attachment_ids?: string[];
  } = {},
) => api<Sent>("POST", `/chats/${chatId}/messages`, { body: { content, ...more }, key });

/** Edit a message and keep its files. With `in_place` it stays the same message. */
export const editMessage = (message: Message, content: string, key: string, in_place = false) => {
  const files = message.parts.filter((part) => "attachment_id" in part && part.attachment_id);
  const parts = [...(content.trim() ? [{ type: "text", text: content }] : []), ...files];
  return api<Sent>("POST", `/messages/${message.id}/edit`, { body: { parts, in_place }, key });
};

export const react = (messageId: string, emoji: string, isOn: boolean) =>
  api<Message>(isOn ? "PUT" : "DELETE", `/messages/${messageId}/reactions/${encodeURIComponent(emoji)}`);

export const getHistory = (messageId: string) =>
  api<Schemas["MessageWithHistory"]>("GET", `/messages/${messageId}`);

export const regenerateMessage = (messageId: string, models?: ModelRef[], options?: ReplyOptions) =>
  api<Sent>("POST", `/messages/${messageId}/regenerate`, { body: { models, options } });

export const deleteMessage = (messageId: string) => api<void>("DELETE", `/messages/${messageId}`);
export const restoreMessage = (messageId: string) => api<Message>("POST", `/messages/${messageId}/restore`);
export const forkChat = (messageId: string) => api<Chat>("POST", `/messages/${messageId}/fork`);

export const continueMessage = (messageId: string) => api<Sent>("POST", `/messages/${messageId}/continue`);

export const cancelRun = (runId: string) => api<Schemas["RunRead"]>("POST", `/runs/${runId}/cancel`);

export const updateChat = (chatId: string, update: ChatUpdate) =>
  api<Chat>("PATCH", `/chats/${chatId}`, { body: update });

export const deleteChat = (chatId: string) => api<void>("DELETE", `/chats/${chatId}`);
export const restoreChat = (chatId: string) => api<Chat>("POST", `/chats/${chatId}/restore`);

export const setHead = (chatId: string, messageId: string) =>
  api<Chat>("PUT", `/chats/${chatId}/head`, { body: { message_id: messageId } });

export type ContextRule = Schemas["ContextRule"];
export const setContextRule = (messageId: string, context_rule: ContextRule) =>
  api<Message>("PATCH", `/messages/${messageId}`, { body: { context_rule } });

/** The context of the next request on the branch shown in this window. */
export function contextQuery(chatId: string) {
  return queryOptions({
    queryKey: ["context", chatId],
    queryFn: async ({ signal, client }) => {
      const get = (leaf?: string) =>
        api<Schemas["ContextRead"]>("GET", `/chats/${chatId}/context`, { query: { leaf }, signal });
      const newest = newestShown(client, chatId);
      try {
        return await get(newest ?? undefined);
      } catch (error) {
        if (newest && error instanceof ApiError && error.status === 404) return get(); // deleted in the meantime
        throw error;
      }
    },
  });
}

export type Forecast = Schemas["ForecastRead"];
/** A message that is being written: its characters with those of its files, and its pictures. */
export type NextMessage = { characters: number; pictures: number };

/** What the next message costs. Without models, the model of the chat replies; without a chat, it is a new one. */
export function forecastQuery(
  chatId: string | undefined,
  models: ModelRef[],
  next: NextMessage = { characters: 0, pictures: 0 },
  cheaper = false,
) {
  const keys = models.map((model) => `${model.provider}/${model.model_name}`);
  const { characters, pictures } = next;
  return queryOptions({
    queryKey: ["context", chatId ?? "new", "forecast", keys, characters, pictures, cheaper],
    queryFn: ({ signal }) => {
      const query = new URLSearchParams({
        characters: String(characters),
        pictures: String(pictures),
        cheaper: String(cheaper),
      });
      if (chatId) query.set("chat_id", chatId);
      for (const key of keys) query.append("models", key);
      return api<Forecast>("GET", `/forecast?${query}`, { signal });
    },
    staleTime: 30_000,
    retry: false,
  });
}

export type Optimization = Schemas["ContextOptimizationRead"];

/** The last fifty compactions of a chat, newest first. */
export function optimizationsQuery(chatId: string) {
  return queryOptions({
    queryKey: ["context-optimizations", chatId],
    queryFn: async ({ signal }) =>
      (await api<{ items: Optimization[] }>("GET", `/chats/${chatId}/context-optimizations`, { signal }))
        .items,
  });
}

/** The estimate of a summary. Its key extends the context's, so both are invalidated together. */
export function summaryForecastQuery(chatId: string) {
  return queryOptions({
    queryKey: ["context", chatId, "summary"],
    queryFn: ({ signal, client }) =>
      api<Schemas["SummaryForecast"]>("GET", `/chats/${chatId}/context-optimizations/forecast`, {
        query: { leaf: newestShown(client, chatId) ?? undefined },
        signal,
      }),
    retry: false,
  });
}

export const optimizeNow = (
  chatId: string,
  optimization_type: Optimization["optimization_type"],
  leaf: string | null,
) =>
  api<Optimization>("POST", `/chats/${chatId}/context-optimizations`, { body: { optimization_type, leaf } });
export const editSummary = (chatId: string, id: string, summary: string) =>
  api<Optimization>("PATCH", `/chats/${chatId}/context-optimizations/${id}`, { body: { summary } });
export const undoOptimization = (chatId: string, id: string) =>
  api<void>("DELETE", `/chats/${chatId}/context-optimizations/${id}`);

export const undoOptimizations = (chatId: string) =>
  api<void>("DELETE", `/chats/${chatId}/context-optimizations`);

export const getMessage = (messageId: string) => api<Message>("GET", `/messages/${messageId}`);
