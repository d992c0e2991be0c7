import { Text } from "@codemirror/state";
import { expect, test } from "vitest";
import { changeSet } from "./editor";

test("what came from elsewhere and what was typed here since are both there", () => {
  const before = "One. Two. Three.";
  const theirs = changeSet(before, "One! Two. Three.");
  const mine = changeSet(before, "One. Two. Three. Four.");
  const shown = mine.compose(theirs.map(mine));
  expect(shown.apply(toText(before)).toString()).toBe("One! Two. Three. Four.");
});

test("the change between two texts makes the one of the other", () => {
  for (const [before, after] of [
    ["", "a"],
    ["abc", ""],
    ["aaa", "aaaa"],
    ["the same", "the same"],
    ["a b c", "a x c"],
  ] as const)
    expect(changeSet(before, after).apply(toText(before)).toString()).toBe(after);
});

const toText = (words: string) => Text.of(words.split("\n"));

test("places between two changes stay where they are", () => {
  const before = "One. Two. Three. Four.";
  const changes = changeSet(before, "One! Two. Three. Four!");
  expect(changes.mapPos(before.indexOf("Two"))).toBe("One! ".length);
  const mine = changeSet(before, "One. Two. More. Three. Four.");
  expect(mine.compose(changes.map(mine)).apply(toText(before)).toString()).toBe(
    "One! Two. More. Three. Four!",
  );
});
