import type { QueryClient } from "@tanstack/react-query";
import { accountChanges, meQuery } from "@/features/accounts";
import { billingChanges } from "@/features/billing";
import { chatChanges } from "@/features/chat";
import { draftChanges } from "@/features/drafts";
import { fileChanges } from "@/features/files";
import { countUnread, projectChanges } from "@/features/projects";
import { providerChanges } from "@/features/providers";
import { toolChanges } from "@/features/tools";
import { transferChanges } from "@/features/transfer";
import type { Realtime } from "@/realtime/client";
import { refetchOvertaken } from "@/realtime/overtaken";
import type { ChangeEvent, ChangeHandlers, Entity, Tell } from "@/realtime/protocol";

/** One handler for each entity: a new entity does not compile until it is handled. */
const HANDLERS: ChangeHandlers<Entity> = {
  ...accountChanges,
  ...billingChanges,
  ...chatChanges,
  ...draftChanges,
  ...fileChanges,
  ...projectChanges,
  ...providerChanges,
  ...toolChanges,
  ...transferChanges,
  message: (client, change) => {
    countUnread(client, change);
    return chatChanges.message(client, change);
  },
};

/** Apply the event stream to all loaded data, starting before the first request. */
export function keepLive(client: QueryClient, realtime: Pick<Realtime, "listen">): void {
  const overtake = refetchOvertaken(client);
  realtime.listen((message: Tell) => {
    switch (message.tell) {
      case "change":
        overtake(message.change);
        void applyChange(client, message.change).catch(() => client.invalidateQueries());
        return;
      case "reload":
        overtake();
        void client.invalidateQueries();
        return;
      case "connection":
        // A visitor who is not signed in stays on the sign-in page, with what they typed.
        if (message.state === "signed-out" && client.getQueryData(meQuery.queryKey))
          void client.resetQueries(meQuery);
    }
  });
}

async function applyChange(client: QueryClient, change: ChangeEvent): Promise<void> {
  // The compiler cannot see that the handler and the change belong to the same entity.
  const handle = HANDLERS[change.entity] as (
    client: QueryClient,
    change: ChangeEvent,
  ) => void | Promise<void>;
  await handle(client, change);
}
