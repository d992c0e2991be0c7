import { infiniteQueryOptions, type QueryClient, queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";

export type ToolCall = Schemas["ToolExecutionRead"];
export type PendingCall = Schemas["PendingToolExecution"];
export type Tool = Schemas["ToolRead"];
export type Rules = Schemas["AutoApprovalRead"];
export type ChatRules = Schemas["ChatApprovalRead"];
export type ToolServer = Schemas["ToolServerRead"];
export type Question = NonNullable<ToolCall["question"]>;
export type ToolUsage = Schemas["ToolUsage"];
type Page<T> = { items: T[]; next_cursor: string | null };

/** The calls of one reply in order, kept up to date by the event stream. */
export function callsQuery(messageId: string) {
  return queryOptions({
    queryKey: ["tool-executions", messageId],
    queryFn: async ({ signal }) =>
      (await api<Page<ToolCall>>("GET", `/messages/${messageId}/tool-executions`, { signal })).items,
    staleTime: Number.POSITIVE_INFINITY,
  });
}

export const getCall = (callId: string, signal?: AbortSignal) =>
  api<ToolCall>("GET", `/tool-executions/${callId}`, { signal });

/** A call with its complete result. */
export function callQuery(callId: string) {
  return queryOptions({
    queryKey: ["tool-execution", callId],
    queryFn: ({ signal }) => getCall(callId, signal),
  });
}

const MOST_PENDING = 200;

/** All calls that await the user's decision or answer, oldest first. */
export const pendingQuery = queryOptions({
  queryKey: ["pending-calls"],
  queryFn: async ({ signal }) =>
    (
      await api<Page<PendingCall>>("GET", "/tool-executions", {
        query: { status: "pending", limit: String(MOST_PENDING) },
        signal,
      })
    ).items,
  staleTime: Number.POSITIVE_INFINITY, // kept right by the event stream
});

export const toolsQuery = queryOptions({
  queryKey: ["tools"],
  queryFn: async ({ signal }) => (await api<Page<Tool>>("GET", "/tools", { signal })).items,
  staleTime: 60_000,
});

export const toolServersQuery = queryOptions({
  queryKey: ["tool-servers"],
  queryFn: async ({ signal }) => (await api<Page<ToolServer>>("GET", "/tool-servers", { signal })).items,
});

export const rulesQuery = queryOptions({
  queryKey: ["tool-rules"],
  queryFn: ({ signal }) => api<Rules>("GET", "/auto-approval-settings", { signal }),
});

/** What may run automatically in one chat, in addition to the account's rules. */
export function chatRulesQuery(chatId: string) {
  return queryOptions({
    queryKey: ["chat-rules", chatId],
    queryFn: ({ signal }) => api<ChatRules>("GET", `/chats/${chatId}/auto-approval`, { signal }),
  });
}

/** The totals of each tool, in all chats or in one. */
export function usageByToolQuery(chatId: string | undefined) {
  return queryOptions({
    queryKey: ["tool-usage", chatId ?? null],
    queryFn: async ({ signal }) =>
      (await api<Page<ToolUsage>>("GET", "/tools/usage", { query: { chat_id: chatId }, signal })).items,
  });
}

export function historyQuery(toolKey: string | undefined, chatId: string | undefined) {
  return infiniteQueryOptions({
    queryKey: ["tool-history", toolKey ?? null, chatId ?? null],
    queryFn: ({ pageParam, signal }) =>
      api<Page<PendingCall>>("GET", "/tool-executions", {
        query: { tool: toolKey, chat_id: chatId, cursor: pageParam },
        signal,
      }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });
}

export function stateQuery(chatId: string) {
  return queryOptions({
    queryKey: ["chat-state", chatId],
    queryFn: ({ signal }) => api<Schemas["StateRead"]>("GET", `/chats/${chatId}/state`, { signal }),
    staleTime: Number.POSITIVE_INFINITY,
  });
}

/** The dry run of a call; `edited`: with these arguments instead of the model's. */
export function dryRunQuery(callId: string, edited: string | undefined) {
  return queryOptions({
    queryKey: ["dry-run", callId, edited ?? null],
    queryFn: async ({ signal }) =>
      (
        await api<Schemas["DryRunRead"]>("POST", `/tool-executions/${callId}/dry-run`, {
          body: edited === undefined ? {} : { arguments_json: edited },
          signal,
        })
      ).effect,
    retry: false,
    staleTime: 10_000,
  });
}

export const approve = (callId: string, wish: Partial<Schemas["Approve"]>) =>
  api<ToolCall>("POST", `/tool-executions/${callId}/approve`, { body: wish });
export const deny = (callId: string, note?: string) =>
  api<ToolCall>("POST", `/tool-executions/${callId}/deny`, { body: note ? { note } : {} });
export const answerQuestion = (callId: string, body: Schemas["AnswerQuestion"]) =>
  api<ToolCall>("POST", `/tool-executions/${callId}/answer`, { body });
export const createServer = (body: Schemas["ToolServerCreate"], key: string) =>
  api<ToolServer>("POST", "/tool-servers", { body, key });
export const updateServer = (id: string, body: Schemas["ToolServerUpdate"]) =>
  api<ToolServer>("PATCH", `/tool-servers/${id}`, { body });
export const removeServer = (id: string) => api<void>("DELETE", `/tool-servers/${id}`);
export const refreshServer = (id: string) => api<ToolServer>("POST", `/tool-servers/${id}/refresh`);
export const beginSignIn = (id: string, body: Schemas["ToolSignInCreate"]) =>
  api<Schemas["ToolSignInRead"]>("POST", `/tool-servers/${id}/sign-in`, { body });
/** Send the parameters that the authorization server added to the address. */
export const finishSignIn = (brought: URLSearchParams) => {
  const body: Schemas["ToolSignInFinish"] = { state: brought.get("state") || "none" };
  for (const name of ["code", "iss", "error", "error_description"] as const) {
    const value = brought.get(name);
    if (value) body[name] = value;
  }
  return api<ToolServer>("POST", "/tool-servers/sign-in", { body });
};
export const signOutOfServer = (id: string) => api<ToolServer>("DELETE", `/tool-servers/${id}/sign-in`);
export const cancelCall = (callId: string) => api<ToolCall>("POST", `/tool-executions/${callId}/cancel`);
export const putChatRules = (chatId: string, rules: Schemas["ChatApproval"]) =>
  api<ChatRules>("PUT", `/chats/${chatId}/auto-approval`, { body: rules });
export const putRules = (rules: Schemas["AutoApprovalUpdate"]) =>
  api<Rules>("PUT", "/auto-approval-settings", { body: rules });

/** Place a new or changed call into the cache. An older version does not replace a newer one. */
export function placeCall(client: QueryClient, call: ToolCall): void {
  const { queryKey } = callsQuery(call.message_id);
  client.setQueryData<ToolCall[]>(queryKey, (calls) => {
    if (!calls) return calls;
    const at = calls.findIndex((item) => item.id === call.id);
    if (at < 0) return [...calls, call];
    const known = calls[at];
    return known && known.updated_at > call.updated_at ? calls : calls.with(at, call);
  });
  client.removeQueries({ queryKey: ["tool-execution", call.id] });
  if (call.status === "approved") void client.invalidateQueries(chatRulesQuery(call.chat_id));
  const waiting = client.getQueryData(pendingQuery.queryKey);
  // If there are more pending calls than are loaded, the next ones must be fetched.
  if (call.status === "pending" || call.question || waiting?.length === MOST_PENDING)
    void client.invalidateQueries(pendingQuery);
  else
    client.setQueryData<PendingCall[]>(
      pendingQuery.queryKey,
      waiting?.filter((item) => item.id !== call.id),
    );
}
