import type { VersionListed } from "./queries";

/** A version in the drawing of the tree: its lane, and the lanes that pass next to it. */
export type Drawn = {
  version: VersionListed;
  lane: number;
  passing: number[]; // lanes that continue past this row
  from: number[]; // lanes of its children above, which end here
};

/** Lay out versions, newest first. Each branch has a lane that ends at the version it started from. */
export function drawTree(newestFirst: VersionListed[]): Drawn[] {
  const lanes: (number | undefined)[] = []; // the parent that each lane leads to
  return newestFirst.map((version) => {
    const coming = lanes.flatMap((parent, lane) => (parent === version.version_number ? [lane] : []));
    let lane = coming[0] ?? lanes.indexOf(undefined);
    if (lane < 0) lane = lanes.length;
    for (const ending of coming) lanes[ending] = undefined;
    const passing = lanes.flatMap((parent, at) => (parent === undefined ? [] : [at]));
    lanes[lane] = version.parent_version_number ?? undefined;
    return { version, lane, passing, from: coming };
  });
}
