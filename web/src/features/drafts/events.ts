import type { ChangeHandlers } from "@/realtime/protocol";
import type { Draft } from "./queries";

const idOf = (topic: string) => topic.slice("draft:".length);

/** How loaded drafts follow their changes. The open editor listens for the text itself. */
export const draftChanges: ChangeHandlers<
  "draft" | "draft_version" | "draft_working_copy" | "proposal" | "attached_draft"
> = {
  draft: (client, change) => {
    const draftId = idOf(change.topic);
    const { payload } = change;
    void client.invalidateQueries({ queryKey: ["drafts"] });
    void client.invalidateQueries({ queryKey: ["draft-chats", draftId] });
    void client.invalidateQueries({ queryKey: ["attached-drafts"] });
    if (payload) client.setQueryData<Draft>(["draft", draftId], (known) => known && { ...known, ...payload });
    // For another user's draft the change has no payload.
    else void client.invalidateQueries({ queryKey: ["shared-drafts"] });
    if (!payload || change.operation === "deleted")
      void client.invalidateQueries({ queryKey: ["draft", draftId] });
  },
  draft_version: (client, change) =>
    void client.invalidateQueries({ queryKey: ["draft-versions", idOf(change.topic)] }),
  draft_working_copy: () => undefined,
  proposal: (client, change) =>
    void client.invalidateQueries({ queryKey: ["draft-proposals", idOf(change.topic)] }),
  attached_draft: (client) => void client.invalidateQueries({ queryKey: ["attached-drafts"] }),
};
