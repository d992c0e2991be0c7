import { queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";

export type Share = Schemas["ShareRead"];
/** A shareable object: its collection and its id. */
export type Thing = { kind: "chats" | "drafts"; id: string };
type Page<T> = { items: T[]; next_cursor: string | null };

export function sharesQuery(thing: Thing) {
  return queryOptions({
    queryKey: ["shares", thing.kind, thing.id],
    queryFn: async ({ signal }) =>
      (await api<Page<Share>>("GET", `/${thing.kind}/${thing.id}/shares`, { signal })).items,
  });
}

export const createShare = ({ kind, id }: Thing, share: Schemas["ShareCreate"]) =>
  api<Schemas["ShareCreated"]>("POST", `/${kind}/${id}/shares`, { body: share });
export const endShare = (shareId: string) => api<void>("DELETE", `/shares/${shareId}`);
