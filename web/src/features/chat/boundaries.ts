import type { Optimization } from "./queries";

type Kind = Optimization["optimization_type"];

/** After which messages something begins to be sent otherwise: of what counts on the branch on show, as the server says. */
export function boundaries(
  made: readonly Pick<Optimization, "id" | "boundary_message_id" | "optimization_type">[],
  counting: readonly string[],
): Map<string, Kind> {
  const here = made.filter((one) => counting.includes(one.id));
  const of = (kind: Kind) => here.filter((one) => one.optimization_type === kind);
  const leftOut = of("truncation");
  // What is left out hides where the summary before it ends; where two end, what takes more away is said.
  const shown = [...of("compression"), ...(leftOut.length > 0 ? leftOut : of("summarization"))];
  return new Map(shown.map((one) => [one.boundary_message_id, one.optimization_type]));
}
