import type { Optimization } from "./queries";

type Kind = Optimization["optimization_type"];
type Counting = Pick<
  Optimization,
  "boundary_message_id" | "leaf_message_id" | "optimization_type" | "is_stale" | "undone_at"
>;

/**
 * After which messages of a branch (oldest first) something begins to be sent otherwise, as the server counts it: what was made
 * shorter counts on branches that hold its leaf, and the first that is met on the way back ends the way.
 */
export function boundaries(
  messages: readonly { id: string }[],
  made: readonly Counting[],
): Map<string, Kind[]> {
  const active = made.filter((one) => !one.undone_at && !one.is_stale);
  const found = new Map<string, Kind[]>();
  if (active.length === 0) return found;
  const seen = new Set<string>();
  let isCompressed = false;
  for (const { id } of messages.toReversed()) {
    seen.add(id);
    const here = active.filter((one) => one.boundary_message_id === id && seen.has(one.leaf_message_id));
    if (here.some((one) => one.optimization_type === "compression") && !isCompressed) {
      isCompressed = true;
      found.set(id, ["compression"]);
    }
    const end = here.find((one) => one.optimization_type !== "compression");
    if (end) {
      found.set(id, [end.optimization_type]);
      break;
    }
  }
  return found;
}
