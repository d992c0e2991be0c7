import { expect, test } from "vitest";
import { boundaries } from "./boundaries";

const compaction = (id: string, kind: "truncation" | "compression" | "summarization") => ({
  id,
  boundary_message_id: `after-${id}`,
  optimization_type: kind,
});
const all = [compaction("1", "compression"), compaction("2", "summarization"), compaction("3", "truncation")];

test("what counts is shown where it ends, and nothing else", () => {
  expect([...boundaries(all, ["1", "2"])]).toEqual([
    ["after-1", "compression"],
    ["after-2", "summarization"],
  ]);
  expect(boundaries(all, []).size).toBe(0);
});

test("what is left out hides where the summary before it ends", () => {
  expect([...boundaries(all, ["2", "3"])]).toEqual([["after-3", "truncation"]]);
});
