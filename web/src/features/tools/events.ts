import type { QueryClient } from "@tanstack/react-query";
import type { ChangeEvent } from "@/realtime/protocol";
import { placeCall, type ToolCall } from "./queries";

/** Bring what is loaded of tools to what a change tells; true if it was about them. */
export function applyToolChange(client: QueryClient, change: ChangeEvent): boolean {
  switch (change.entity) {
    case "tool_execution":
      if (change.payload) placeCall(client, change.payload as unknown as ToolCall);
      else {
        void client.invalidateQueries({ queryKey: ["tool-executions"] });
        void client.invalidateQueries({ queryKey: ["pending-calls"] });
      }
      void client.invalidateQueries({ queryKey: ["tool-history"] });
      void client.invalidateQueries({ queryKey: ["tool-usage"] });
      return true;
    case "tool_server":
      void client.invalidateQueries({ queryKey: ["tool-servers"] });
      void client.invalidateQueries({ queryKey: ["tools"] });
      return true;
    case "auto_approval_setting":
      client.setQueryData(["tool-rules"], change.payload);
      return true;
    case "chat_state":
      if (change.payload) client.setQueryData(["chat-state", change.entity_id], change.payload);
      else void client.invalidateQueries({ queryKey: ["chat-state", change.entity_id] });
      return true;
    default:
      return false;
  }
}
