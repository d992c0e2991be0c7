import type { ChangeHandlers } from "@/realtime/protocol";

/** How loaded projects follow their changes. */
export const projectChanges: ChangeHandlers<"project"> = {
  project: (client, change) => {
    void client.invalidateQueries({ queryKey: ["projects"] });
    void client.invalidateQueries({ queryKey: ["project", change.entity_id] });
    void client.invalidateQueries({ queryKey: ["project-chats", change.entity_id] });
  },
};
