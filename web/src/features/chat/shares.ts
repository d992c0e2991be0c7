import { queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";
import type { Chat, Page } from "./queries";

/** Chats of other users that this user may read. */
export const sharedChatsQuery = queryOptions({
  queryKey: ["shared-chats"],
  queryFn: async ({ signal }) => (await api<Page<Chat>>("GET", "/shared-chats", { signal })).items,
  staleTime: Number.POSITIVE_INFINITY,
});

export const tellPresence = (chatId: string, presence: Schemas["PresenceTold"]) =>
  api<void>("PUT", `/chats/${chatId}/presence`, { body: presence });
