import { expect, test } from "vitest";
import { liveEdits } from "./live-edits";

const TEXT = "One two three.\n\nFour five.";

test("edits are seen while they are written, without half a tag", () => {
  const reply =
    "Sure. <edit><find>two</find><replace>2</replace></edit> <edit><find>five</find><replace>5 and s</rep";
  expect(liveEdits(TEXT, reply, undefined)).toEqual([
    { start: 4, end: 7, newText: "2" },
    { start: 21, end: 25, newText: "5 and s" },
  ]);
});

test("what is not in the text, or not whole yet, is not shown", () => {
  expect(
    liveEdits(TEXT, "<edit><find>six</find><replace>6</replace></edit><edit><find>tw", undefined),
  ).toEqual([]);
  expect(liveEdits(TEXT, "The whole text anew.", undefined)).toEqual([]);
});

test("a selection shows its new wording, an empty text what is written", () => {
  expect(liveEdits(TEXT, "\nOne", { start: 0, end: 3 })).toEqual([{ start: 0, end: 3, newText: "One" }]);
  expect(liveEdits("", "# Title", undefined)).toEqual([{ start: 0, end: 0, newText: "# Title" }]);
});

test("of the same words the next ones are meant", () => {
  const twice = "<edit><find>a</find><replace>b</replace></edit>".repeat(2);
  expect(liveEdits("a a", twice, undefined).map((edit) => edit.start)).toEqual([0, 2]);
});
