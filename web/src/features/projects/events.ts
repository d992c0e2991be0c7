import type { ChangeHandlers } from "@/realtime/protocol";

/** How loaded projects follow their changes. */
export const projectChanges: ChangeHandlers<"project"> = {
  project: (client, change) => {
    void client.invalidateQueries({ queryKey: ["projects"] });
    void client.invalidateQueries({ queryKey: ["project", change.entity_id] });
    void client.invalidateQueries({ queryKey: ["project-chats", change.entity_id] });
    // What a member may do with the open chat, if it is in the project, and whether they may read it.
    void client.invalidateQueries({ queryKey: ["chat"] });
  },
};
