import { lazy } from "react";

export { AttachDraft, AttachedDrafts } from "./components/attached-drafts";
export { DraftChats } from "./components/draft-chats";
export { DraftList, SharedDrafts } from "./components/draft-list";
export { createDraft, draftChatsQuery, draftQuery, importDraft } from "./queries";

// The editor is most of this feature's code, so it is loaded with the first open draft.
export const DraftView = lazy(() =>
  import("./components/draft-view").then((module) => ({ default: module.DraftView })),
);
export { draftChanges } from "./events";
