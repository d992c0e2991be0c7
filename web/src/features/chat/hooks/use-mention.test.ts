import { describe, expect, it } from "vitest";
import { mentionAt } from "./use-mention";

describe("a name after an @", () => {
  it.each([
    ["@", { start: 0, typed: "" }],
    ["Ask @an", { start: 4, typed: "an" }],
    ["(@ana.maria", { start: 1, typed: "ana.maria" }],
    ["mail a@b", undefined],
    ["@@ana", undefined],
    ["@ana ", undefined],
  ])("is found in %j", (text, expected) => {
    expect(mentionAt(text, text.length)).toEqual(expected);
  });

  it("is looked for at the caret, not at the end", () => {
    expect(mentionAt("Hi @an and more", 6)).toEqual({ start: 3, typed: "an" });
  });
});
