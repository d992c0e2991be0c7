import type { Element, Root } from "hast";
import { describe, expect, it } from "vitest";
import { rehypePlugins } from "./mathematics";

const [plugin] = rehypePlugins as [() => (tree: Root) => void];

function drawn(formula: string): Element {
  const code: Element = {
    type: "element",
    tagName: "code",
    properties: { className: ["language-math"] },
    children: [{ type: "text", value: formula }],
  };
  const tree: Root = {
    type: "root",
    children: [{ type: "element", tagName: "p", properties: {}, children: [code] }],
  };
  plugin()(tree);
  return (tree.children[0] as Element).children[0] as Element;
}

describe("mathematics", () => {
  it("is drawn as MathML", () => {
    const math = drawn("a^2");
    expect(math.tagName).toBe("math");
    expect(JSON.stringify(math)).toContain("msup");
  });
  it("stays as it was written where it is no formula", () => {
    expect(drawn("\\frac{").tagName).toBe("code");
  });
  it("leads nowhere", () => {
    expect(JSON.stringify(drawn("\\href{javascript:alert(1)}{x}"))).not.toContain('href":');
  });
});
