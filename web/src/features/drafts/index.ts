import { lazy } from "react";

export { AttachDraft, AttachedDrafts } from "./components/attached-drafts";
export { DraftChats } from "./components/draft-chats";
export { DraftList, SharedDrafts } from "./components/draft-list";
export { createDraft, draftChatsQuery, draftQuery, importDraft } from "./queries";

// The editor is most of the code of this feature, and is wanted where a text is open.
export const DraftView = lazy(() =>
  import("./components/draft-view").then((made) => ({ default: made.DraftView })),
);
export { draftChanges } from "./events";
