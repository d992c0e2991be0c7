import type { Optimization } from "./queries";

type Kind = Optimization["optimization_type"];

/** Return the messages after which compaction changes what is sent, for the compactions that apply to this branch. */
export function boundaries(
  compactions: readonly Pick<Optimization, "id" | "boundary_message_id" | "optimization_type">[],
  applied: readonly string[],
): Map<string, Kind> {
  const here = compactions.filter((compaction) => applied.includes(compaction.id));
  const of = (kind: Kind) => here.filter((compaction) => compaction.optimization_type === kind);
  const leftOut = of("truncation");
  // A truncation hides a summary before it. Where two end at the same message, show the one that removes more.
  const shown = [...of("compression"), ...(leftOut.length > 0 ? leftOut : of("summarization"))];
  return new Map(shown.map((compaction) => [compaction.boundary_message_id, compaction.optimization_type]));
}
