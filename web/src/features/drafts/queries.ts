import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";
import { sendFile } from "@/api/upload";

export type Draft = Schemas["DraftRead"];
export type Listed = Schemas["DraftListed"];
export type Version = Schemas["VersionRead"];
export type VersionListed = Schemas["VersionListed"];
export type Proposal = Schemas["ProposalRead"];
export type Piece = Schemas["DiffPiece"];
/** The details of a conflict: the merged text, and both sides of each place that both changed. */
export type Merged = (
  | { kind: "same"; text: string }
  | { kind: "overlap"; base: string; mine: string; theirs: string }
)[];
type Page<T> = { items: T[]; next_cursor: string | null };

export function draftsQuery(isTrash = false) {
  return infiniteQueryOptions({
    queryKey: ["drafts", isTrash],
    queryFn: ({ pageParam, signal }) =>
      api<Page<Listed>>("GET", "/drafts", {
        query: { trash: isTrash ? "true" : undefined, cursor: pageParam },
        signal,
      }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });
}

/** Drafts of other users that this user may read. */
export const sharedDraftsQuery = queryOptions({
  queryKey: ["shared-drafts"],
  queryFn: async ({ signal }) => (await api<Page<Listed>>("GET", "/shared-drafts", { signal })).items,
});

/** The drafts that a chat's prompts include. */
export function attachedQuery(chatId: string) {
  return queryOptions({
    queryKey: ["attached-drafts", chatId],
    queryFn: async ({ signal }) =>
      (await api<Page<Listed>>("GET", `/chats/${chatId}/drafts`, { signal })).items,
  });
}

export const attachDraft = async (chatId: string, draftId: string) =>
  (await api<Page<Listed>>("PUT", `/chats/${chatId}/drafts/${draftId}`)).items;
export const detachDraft = (chatId: string, draftId: string) =>
  api<void>("DELETE", `/chats/${chatId}/drafts/${draftId}`);
export const addDraftChat = (draftId: string) => api<Schemas["ChatRead"]>("POST", `/drafts/${draftId}/chats`);

export function draftQuery(draftId: string) {
  return queryOptions({
    queryKey: ["draft", draftId],
    queryFn: ({ signal }) => api<Draft>("GET", `/drafts/${draftId}`, { signal }),
    gcTime: 0, // the editor changes the text without this cache, so always read it again
  });
}

export function draftChatsQuery(draftId: string) {
  return queryOptions({
    queryKey: ["draft-chats", draftId],
    queryFn: ({ signal }) => api<Page<Schemas["ChatRead"]>>("GET", `/drafts/${draftId}/chats`, { signal }),
  });
}

export function versionsQuery(draftId: string) {
  return infiniteQueryOptions({
    queryKey: ["draft-versions", draftId],
    queryFn: ({ pageParam, signal }) =>
      api<Page<VersionListed>>("GET", `/drafts/${draftId}/versions`, {
        query: { limit: "100", cursor: pageParam },
        signal,
      }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });
}

export function diffQuery(draftId: string, number: number, against: number) {
  return queryOptions({
    queryKey: ["draft-diff", draftId, number, against],
    queryFn: ({ signal }) =>
      api<Schemas["DiffRead"]>("GET", `/drafts/${draftId}/versions/${number}/diff`, {
        query: { against: String(against) },
        signal,
      }),
    staleTime: Number.POSITIVE_INFINITY, // versions never change
  });
}

export function proposalsQuery(draftId: string) {
  return queryOptions({
    queryKey: ["draft-proposals", draftId],
    queryFn: ({ signal }) => api<Page<Proposal>>("GET", `/drafts/${draftId}/proposals`, { signal }),
  });
}

export const getAuthorship = (draftId: string, number: number) =>
  api<Schemas["Authorship"]>("GET", `/drafts/${draftId}/versions/${number}/authorship`);

export type RichText = Schemas["RichText"];
export const getRichText = (draftId: string) => api<RichText>("GET", `/drafts/${draftId}/rich-text`);
export type NewDraft = Schemas["DraftCreate"];
export const createDraft = (body: NewDraft) => api<Draft>("POST", "/drafts", { body });
/** Create a draft from a file, which the server parses. */
export const importDraft = (file: File) =>
  sendFile<Draft>("/draft-imports", file, {
    onProgress: () => undefined,
    signal: new AbortController().signal,
    mostBytes: 20 * 1024 * 1024,
  });
export const getDraft = (draftId: string) => api<Draft>("GET", `/drafts/${draftId}`);
export const deleteDraft = (draftId: string) => api<void>("DELETE", `/drafts/${draftId}`);
export const restoreDraft = (draftId: string) => api<Draft>("POST", `/drafts/${draftId}/restore`);
export const renameDraft = (draft: Listed, title: string) =>
  api<Draft>("PATCH", `/drafts/${draft.id}`, { body: { title }, ifMatch: `"${draft.revision}"` });

export const saveVersion = (draftId: string, body: Schemas["VersionCreate"]) =>
  api<Schemas["VersionMade"]>("POST", `/drafts/${draftId}/versions`, { body });
export const nameVersion = (draftId: string, number: number, name: string | null) =>
  api<Version>("PATCH", `/drafts/${draftId}/versions/${number}`, { body: { name } });
export const restoreVersion = (draftId: string, number: number) =>
  api<Version>("POST", `/drafts/${draftId}/versions/${number}/restore`);
export const storeWorkingCopy = (draftId: string, body: Schemas["WorkingCopyPut"], keepalive = false) =>
  api<Schemas["WorkingCopyStored"]>("PUT", `/drafts/${draftId}/working-copy`, { body, keepalive });

export const askForEdits = (draftId: string, body: Schemas["ProposalCreate"]) =>
  api<Schemas["ProposalRequested"]>("POST", `/drafts/${draftId}/proposals`, { body });
export type Deciding = "accept" | "reject";
export const decideEdits = (proposalId: string, deciding: Deciding, editIds?: string[]) =>
  api<Schemas["ProposalDecided"]>("POST", `/proposals/${proposalId}/${deciding}`, {
    body: editIds ? { edit_ids: editIds } : {},
  });
