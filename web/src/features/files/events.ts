import type { ChangeHandlers } from "@/realtime/protocol";

/** How loaded files follow their changes. */
export const fileChanges: ChangeHandlers<"attachment"> = {
  attachment: (client, change) => {
    client.setQueryData(["attachment", change.entity_id], change.payload);
    void client.invalidateQueries({ queryKey: ["attachments"] });
    void client.invalidateQueries({ queryKey: ["storage"] });
  },
};
