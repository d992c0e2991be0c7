import { lazy } from "react";

export { DraftList } from "./components/draft-list";
export { applyDraftChange, createDraft, draftChatsQuery } from "./queries";

// The editor is most of the code of this feature, and is wanted where a text is open.
export const DraftView = lazy(() =>
  import("./components/draft-view").then((made) => ({ default: made.DraftView })),
);
