import type { QueryClient } from "@tanstack/react-query";
import { meQuery } from "@/features/accounts";
import { applyChange } from "@/features/chat";
import { applyDraftChange } from "@/features/drafts";
import { applyToolChange } from "@/features/tools";
import type { Realtime } from "@/realtime/client";
import { refetchOvertaken } from "@/realtime/overtaken";
import type { ChangeEvent, Tell } from "@/realtime/protocol";

/** Whatever is loaded follows the event stream, from before the first thing is asked for. */
export function keepLive(client: QueryClient, realtime: Pick<Realtime, "listen">): void {
  const overtake = refetchOvertaken(client);
  realtime.listen((message: Tell) => {
    switch (message.tell) {
      case "change":
        overtake(message.change);
        void applyChange(client, message.change).catch(() => client.invalidateQueries());
        applyDraftChange(client, message.change);
        applyToolChange(client, message.change);
        for (const queryKey of staleAfter(message.change)) void client.invalidateQueries({ queryKey });
        return;
      case "reload":
        overtake();
        void client.invalidateQueries();
        return;
      case "connection":
        // Who is not in yet stays on the page where they sign in, with what they have typed.
        if (message.state === "signed-out" && client.getQueryData(meQuery.queryKey))
          void client.resetQueries(meQuery);
    }
  });
}

/** What a change makes worth asking for again, where it is on the screen. */
function staleAfter(change: ChangeEvent): string[][] {
  switch (change.entity) {
    case "provider_config":
      return [["provider_config"], ["models"]];
    case "tag":
      return [["tags"], ["tagged"]];
    case "chat":
      return [["tagged"]];
    case "session":
    case "api_token":
      return [[change.entity]];
    case "attachment":
      return [["attachments"], ["storage"]];
    case "import_job":
      return [["imports"]];
    case "run":
      return change.operation === "updated" ? [["usage"]] : [];
    default:
      return [];
  }
}
