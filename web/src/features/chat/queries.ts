import { infiniteQueryOptions, type QueryClient, queryOptions } from "@tanstack/react-query";
import { ApiError, api, type Schemas } from "@/api/client";
import type { Message } from "./reducer";

export type Chat = Schemas["ChatRead"];
export type ChatUpdate = Schemas["ChatUpdate"];
export type Sent = Schemas["Sent"];
export type Shown = "active" | "pinned" | "archived" | "trash";
export type Page<T> = { items: T[]; next_cursor: string | null };
const NEAR = 50; // messages per page
export const FAR = 200; // page size on the way to an old message; the server's limit
export type Pages<T> = { pages: Page<T>[]; pageParams: unknown[] };

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

export function fetchMessages(
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

export function newestShown(client: QueryClient, chatId: string): string | null {
  return client.getQueryData<Pages<Message>>(["messages", chatId])?.pages[0]?.items[0]?.id ?? null;
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
