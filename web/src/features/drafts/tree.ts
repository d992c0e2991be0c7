import type { VersionListed } from "./queries";

/** A version in the drawing of its tree: in which lane it stands, and which lanes pass beside it. */
export type Drawn = {
  version: VersionListed;
  lane: number;
  passing: number[]; // lanes that go on past this row
  from: number[]; // lanes of its children above, which come down into it
};

/** The newest above; each branch has a lane of its own, which ends at the version that it began from. */
export function drawTree(newestFirst: VersionListed[]): Drawn[] {
  const lanes: (number | undefined)[] = []; // the parent that each lane goes down to
  return newestFirst.map((version) => {
    const coming = lanes.flatMap((parent, lane) => (parent === version.version_number ? [lane] : []));
    let lane = coming[0] ?? lanes.indexOf(undefined);
    if (lane < 0) lane = lanes.length;
    for (const one of coming) lanes[one] = undefined;
    const passing = lanes.flatMap((parent, at) => (parent === undefined ? [] : [at]));
    lanes[lane] = version.parent_version_number ?? undefined;
    return { version, lane, passing, from: coming };
  });
}
