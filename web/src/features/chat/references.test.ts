import { describe, expect, it } from "vitest";
import { withReferences } from "./references";

const source = (url: string, passages: string[] = []) => ({
  type: "source" as const,
  url,
  title: null,
  passages,
});
const A = "https://a.example/";
const B = "https://b.example/";

describe("numbers of sources", () => {
  it.each([
    [
      "stand behind the passages that cite them",
      "Bread rises. It falls.",
      [source(A, ["Bread rises."])],
      `Bread rises.[1](<${A}>) It falls.`,
    ],
    [
      "of one passage stand together",
      "Bread rises.",
      [source(A, ["Bread rises."]), source(B, ["Bread rises."])],
      `Bread rises.[1](<${A}>)[2](<${B}>)`,
    ],
    [
      "keep their places if several passages are cited",
      "One. Two.",
      [source(A, ["Two."]), source(B, ["One."])],
      `One.[2](<${B}>) Two.[1](<${A}>)`,
    ],
    [
      "that the model wrote become links",
      "Bread [1], cake [2][3].",
      [source(A), source(B)],
      `Bread [1](<${A}>), cake [2](<${B}>)[3].`,
    ],
    ["are left alone in links and code", "[1](x) `a[1]`", [source(A)], "[1](x) `a[1]`"],
    ["are left out if the passage is in code", "```\na[1]\n```", [source(A, ["a[1]"])], "```\na[1]\n```"],
    ["are left out if the passage was changed", "Bread.", [source(A, ["Cake."])], "Bread."],
    [
      "are no links to anything but pages",
      "Bread.",
      [source("javascript:alert(1)", ["Bread."])],
      "Bread.(1)",
    ],
    ["are none without sources", "Bread [1].", [], "Bread [1]."],
  ])("%s", (_, text, sources, shown) => {
    expect(withReferences(text, sources)).toBe(shown);
  });
});
