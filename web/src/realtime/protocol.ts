import type { Schemas } from "@/api/client";

export type ChangeEvent = Schemas["ChangeEvent"];
export type RunEvent = Schemas["RunEvent"];

export type Connection = "connecting" | "online" | "offline" | "signed-out";

/** What a page asks of the hub. */
export type Ask =
  | { ask: "follow"; run_id: string }
  | { ask: "unfollow"; run_id: string }
  | { ask: "restart" }
  | { ask: "leave" };

/** What the hub tells every page. `ready` after a loss means: what came meanwhile is caught up, or was a `reload`. */
export type Tell =
  | { tell: "connection"; state: Connection }
  | { tell: "change"; change: ChangeEvent }
  | { tell: "presence"; presence: Schemas["PresenceEvent"] }
  | { tell: "reload" }
  | { tell: "run"; run_id: string; event: RunEvent }
  | { tell: "run-lost"; run_id: string };
