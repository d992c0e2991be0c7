import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";

export type Hit = Schemas["SearchHit"];
export type Who = "anyone" | "user" | "assistant";
export type Order = "relevance" | "newest";
type Found = { items: Hit[]; next_cursor: string | null };

export function searchQuery(typed: string, who: Who, order: Order) {
  return infiniteQueryOptions({
    queryKey: ["search", typed, who, order],
    queryFn: ({ pageParam, signal }) =>
      api<Found>("GET", "/search", {
        query: { q: typed, role: who === "anyone" ? undefined : who, order, cursor: pageParam },
        signal,
      }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    enabled: typed.trim() !== "",
    placeholderData: (before) => before, // what is shown stays until the next hits are there
  });
}

/** The chats whose titles, or whose messages, have these words; titles first. */
export function titlesQuery(typed: string) {
  return queryOptions({
    queryKey: ["search", "titles", typed],
    queryFn: async ({ signal }) => {
      const { items } = await api<Found>("GET", "/search", { query: { q: typed, limit: "40" }, signal });
      const titled = items.toSorted(
        (one, other) => Number(one.message !== null) - Number(other.message !== null),
      );
      return [...new Map(titled.map((hit) => [hit.chat.id, hit.chat])).values()];
    },
    enabled: typed.trim() !== "",
  });
}
