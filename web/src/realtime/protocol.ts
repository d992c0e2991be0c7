import type { QueryClient } from "@tanstack/react-query";
import type { Schemas } from "@/api/client";

export type ChangeEvent = Schemas["ChangeEvent"];
export type Entity = ChangeEvent["entity"];
/** A change of one entity, with the payload that the entity has. */
export type ChangeOf<E extends Entity> = Extract<ChangeEvent, { entity: E }>;
/** How the loaded data follows the changes of some entities. */
export type ChangeHandlers<E extends Entity> = {
  [K in E]: (client: QueryClient, change: ChangeOf<K>) => void | Promise<void>;
};
export type RunEvent = Schemas["RunEvent"];

export type Connection = "connecting" | "online" | "offline" | "signed-out";

/** Messages from a page to the hub. */
export type Ask =
  | { ask: "follow"; run_id: string }
  | { ask: "unfollow"; run_id: string }
  | { ask: "restart" }
  | { ask: "leave" };

/** Messages from the hub to pages. After a loss, `ready` means that missed events were delivered or a `reload` was sent. */
export type Tell =
  | { tell: "connection"; state: Connection }
  | { tell: "change"; change: ChangeEvent }
  | { tell: "presence"; presence: Schemas["PresenceEvent"] }
  | { tell: "reload" }
  | { tell: "run"; run_id: string; event: RunEvent }
  | { tell: "run-lost"; run_id: string };
