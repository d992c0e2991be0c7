import { expect, test } from "vitest";
import { boundaries } from "./boundaries";

const messages = ["1", "2", "3", "4", "5"].map((id) => ({ id }));
const made = (
  boundary: string,
  leaf: string,
  kind: "truncation" | "compression" | "summarization",
  more = {},
) => ({
  boundary_message_id: boundary,
  leaf_message_id: leaf,
  optimization_type: kind,
  is_stale: false,
  undone_at: null,
  ...more,
});

test("the first that is met on the way back ends the way", () => {
  const all = [made("3", "5", "summarization"), made("1", "4", "truncation"), made("4", "5", "compression")];
  expect([...boundaries(messages, all)]).toEqual([
    ["4", ["compression"]],
    ["3", ["summarization"]],
  ]);
});

test("what was undone, has to be made anew, or was made on another branch does not count", () => {
  const all = [
    made("3", "5", "truncation", { undone_at: "2026-11-23T00:00:00Z" }),
    made("2", "5", "summarization", { is_stale: true }),
    made("1", "elsewhere", "truncation"),
  ];
  expect(boundaries(messages, all).size).toBe(0);
});
