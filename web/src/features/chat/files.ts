import { queryOptions } from "@tanstack/react-query";
import { createContext, useContext } from "react";
import { api, type Schemas } from "@/api/client";

export type Attachment = Schemas["AttachmentRead"];

/** Load a file while it is processed. The event stream reports the end; polling covers a lost event. */
export function attachmentQuery(id: string) {
  return queryOptions({
    queryKey: ["attachment", id],
    queryFn: ({ signal }) => api<Attachment>("GET", `/attachments/${id}`, { signal }),
    staleTime: Number.POSITIVE_INFINITY,
    refetchInterval: (query) => (query.state.data?.status === "processing" ? 2000 : false),
  });
}

/** The base address of files: by id for the owner, by link on a shared page. */
const FileBase = createContext("/api/v1");
export const FileBaseProvider = FileBase.Provider;

export function useFileAddress(id: string): { content: string; thumbnail: string } {
  const base = useContext(FileBase);
  return {
    content: `${base}/attachments/${id}/content`,
    thumbnail: `${base}/attachments/${id}/thumbnail`,
  };
}
