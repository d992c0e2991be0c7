import type { ChangeHandlers } from "@/realtime/protocol";
import { placeCall } from "./queries";

/** How loaded tool calls, rules, servers and chat states follow their changes. */
export const toolChanges: ChangeHandlers<
  "tool_execution" | "tool_server" | "auto_approval_setting" | "chat_state"
> = {
  tool_execution: (client, change) => {
    if (change.payload) placeCall(client, change.payload);
    else {
      void client.invalidateQueries({ queryKey: ["tool-executions"] });
      void client.invalidateQueries({ queryKey: ["pending-calls"] });
    }
    void client.invalidateQueries({ queryKey: ["tool-history"] });
    void client.invalidateQueries({ queryKey: ["tool-usage"] });
  },
  tool_server: (client) => {
    void client.invalidateQueries({ queryKey: ["tool-servers"] });
    void client.invalidateQueries({ queryKey: ["tools"] });
  },
  auto_approval_setting: (client, change) => {
    client.setQueryData(["tool-rules"], change.payload);
  },
  chat_state: (client, change) => {
    if (change.payload) client.setQueryData(["chat-state", change.entity_id], change.payload);
    else void client.invalidateQueries({ queryKey: ["chat-state", change.entity_id] });
  },
};
