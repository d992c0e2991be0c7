import { queryOptions } from "@tanstack/react-query";
import { createContext, useContext } from "react";
import { api, type Schemas } from "@/api/client";

export type Attachment = Schemas["AttachmentRead"];

/** A file while it is looked into; the event stream tells when it is done, and asking now and then does if that is lost. */
export function attachmentQuery(id: string) {
  return queryOptions({
    queryKey: ["attachment", id],
    queryFn: ({ signal }) => api<Attachment>("GET", `/attachments/${id}`, { signal }),
    staleTime: Number.POSITIVE_INFINITY,
    refetchInterval: (query) => (query.state.data?.status === "processing" ? 2000 : false),
  });
}

/** Where the files of the messages on show are: one's own by their ids, those of a shared page by its link. */
const FileBase = createContext("/api/v1");
export const FileBaseProvider = FileBase.Provider;

export function useFileAddress(id: string): { content: string; thumbnail: string } {
  const base = useContext(FileBase);
  return {
    content: `${base}/attachments/${id}/content`,
    thumbnail: `${base}/attachments/${id}/thumbnail`,
  };
}
