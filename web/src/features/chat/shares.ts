import { queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";
import type { Chat, Page } from "./queries";

export type Share = Schemas["ShareRead"];

export function sharesQuery(chatId: string) {
  return queryOptions({
    queryKey: ["shares", chatId],
    queryFn: async ({ signal }) =>
      (await api<Page<Share>>("GET", `/chats/${chatId}/shares`, { signal })).items,
  });
}

/** The chats of others that one may read. */
export const sharedChatsQuery = queryOptions({
  queryKey: ["shared-chats"],
  queryFn: async ({ signal }) => (await api<Page<Chat>>("GET", "/shared-chats", { signal })).items,
  staleTime: Number.POSITIVE_INFINITY,
});

export const createShare = (chatId: string, share: Schemas["ShareCreate"]) =>
  api<Schemas["ShareMade"]>("POST", `/chats/${chatId}/shares`, { body: share });
export const endShare = (shareId: string) => api<void>("DELETE", `/shares/${shareId}`);
export const tellPresence = (chatId: string, told: Schemas["PresenceTold"]) =>
  api<void>("PUT", `/chats/${chatId}/presence`, { body: told });
