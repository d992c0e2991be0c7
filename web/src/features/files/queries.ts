import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";

export type Attachment = Schemas["AttachmentRead"];
export type Kind = "any" | "image" | "document" | "text" | "audio" | "video" | "archive";
export type Order = "newest" | "largest" | "name";
type Page = { items: Attachment[]; next_cursor: string | null };

export function attachmentsQuery(kind: Kind, order: Order, isTrash: boolean) {
  return infiniteQueryOptions({
    queryKey: ["attachments", kind, order, isTrash],
    queryFn: ({ pageParam, signal }) =>
      api<Page>("GET", "/attachments", {
        query: {
          kind: kind === "any" ? undefined : kind,
          order,
          trash: isTrash ? "true" : undefined,
          cursor: pageParam,
        },
        signal,
      }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    placeholderData: (before) => before,
  });
}

export const storageQuery = queryOptions({
  queryKey: ["storage"],
  queryFn: ({ signal }) => api<Schemas["StorageRead"]>("GET", "/storage", { signal }),
});

export const deleteAttachment = (id: string) => api<void>("DELETE", `/attachments/${id}`);
export const restoreAttachment = (id: string) => api<Attachment>("POST", `/attachments/${id}/restore`);
