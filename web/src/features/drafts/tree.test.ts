import { expect, test } from "vitest";
import type { VersionListed } from "./queries";
import { drawTree } from "./tree";

const version = (version_number: number, parent_version_number: number | null) =>
  ({ version_number, parent_version_number }) as VersionListed;

test("a line of versions stays in one lane", () => {
  const drawn = drawTree([version(3, 2), version(2, 1), version(1, null)]);
  expect(drawn.map((row) => [row.lane, row.passing, row.from])).toEqual([
    [0, [], []],
    [0, [], [0]],
    [0, [], [0]],
  ]);
});

test("a branch has a lane until the version that it began from", () => {
  // 4 and 3 both began from 1; 2 is between them.
  const drawn = drawTree([version(4, 1), version(3, 2), version(2, 1), version(1, null)]);
  expect(drawn.map((row) => row.lane)).toEqual([0, 1, 1, 0]);
  expect(drawn[1]?.passing).toEqual([0]);
  expect(drawn[3]?.from).toEqual([0, 1]);
});
