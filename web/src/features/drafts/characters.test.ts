import { expect, test } from "vitest";
import { toCharacters, toUnits } from "./characters";

const text = "a🍞b🥐c";

test("places go to the server's counting and back", () => {
  expect([0, 1, 3, 4, 6, 7].map((units) => toCharacters(text, units))).toEqual([0, 1, 2, 3, 4, 5]);
  expect(toUnits(text, [0, 1, 2, 3, 4, 5])).toEqual([0, 1, 3, 4, 6, 7]);
  expect(toUnits("plain", [2, 4])).toEqual([2, 4]);
});
