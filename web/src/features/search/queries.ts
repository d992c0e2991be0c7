import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";

export type Hit = Schemas["SearchHit"];
export type Who = "anyone" | "user" | "assistant";
export type Order = "relevance" | "newest";
export type When = "any" | "day" | "week" | "month" | "year";
export type Has = "any" | "code" | "image" | "file";
/** The filters next to the text. */
export type Chosen = { who: Who; order: Order; when: When; has: Has; chatId: string | undefined };

const DAYS: Record<Exclude<When, "any">, number> = { day: 1, week: 7, month: 31, year: 366 };

/** Return the beginning of the day that many days ago, so that the query stays the same all day. */
function sinceOf(when: When): string | undefined {
  if (when === "any") return undefined;
  const day = new Date(Date.now() - DAYS[when] * 86_400_000);
  day.setHours(0, 0, 0, 0);
  return day.toISOString();
}
/** Refetched until the semantic index is complete. */
export const meaningQuery = queryOptions({
  queryKey: ["search-meaning"],
  queryFn: ({ signal }) => api<Schemas["MeaningState"]>("GET", "/search/meaning", { signal }),
  refetchInterval: ({ state }) =>
    state.data?.phase === "building" || state.data?.phase === "fetching" ? 5000 : false,
});

type Found = { items: Hit[]; next_cursor: string | null };

export function searchQuery(typed: string, { who, order, when, has, chatId }: Chosen) {
  const since = sinceOf(when);
  const q = has === "any" ? typed : `${typed} has:${has}`;
  return infiniteQueryOptions({
    queryKey: ["search", q, who, order, since, chatId],
    queryFn: ({ pageParam, signal }) =>
      api<Found>("GET", "/search", {
        query: {
          q,
          role: who === "anyone" ? undefined : who,
          since,
          chat_id: chatId,
          order,
          cursor: pageParam,
        },
        signal,
      }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    enabled: typed.trim() !== "",
    placeholderData: (before) => before, // keep showing the previous hits until the next arrive
  });
}

export type Titled = { id: string; title: string; is_archived: boolean; isDraft: boolean };

/** Return drafts and chats that match the text, title matches first. */
export function titlesQuery(typed: string) {
  return queryOptions({
    queryKey: ["search", "titles", typed],
    queryFn: async ({ signal }) => {
      const { items } = await api<Found>("GET", "/search", { query: { q: typed, limit: "40" }, signal });
      const titled = items.toSorted(
        (item, other) => Number(item.message !== null) - Number(other.message !== null),
      );
      const hits = titled.map(
        ({ draft, chat }): Titled =>
          draft
            ? { id: draft.id, title: draft.title || "Untitled", is_archived: false, isDraft: true }
            : { ...chat, isDraft: false },
      );
      return [...new Map(hits.map((hit) => [hit.id, hit])).values()];
    },
    enabled: typed.trim() !== "",
  });
}
