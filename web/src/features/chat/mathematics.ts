import type { Element, ElementContent, Root } from "hast";
import katex from "katex";
import remarkMath from "remark-math";
import type { PluggableList } from "unified";
import { visit } from "unist-util-visit";

/** A node that KaTeX builds before it writes markup: an element or a text. */
type Built = { text?: string; type?: string; attributes?: Record<string, string>; children?: Built[] };
type Builder = { __renderToDomTree: (formula: string, options: katex.KatexOptions) => Built };

const OPTIONS = { output: "mathml", trust: false, strict: "ignore", maxExpand: 500, maxSize: 20 } as const;

/** Render formulas as MathML. They are built as a tree because no markup may be parsed here. */
function rehypeMathML() {
  return (tree: Root) => {
    visit(tree, "element", (node, index, parent) => {
      if (index === undefined || !parent || node.tagName !== "code" || !isFormula(node)) return;
      const isBlock = parent.type === "element" && parent.tagName === "pre";
      const tree = build(textOf(node), isBlock);
      if (!tree) return; // invalid formulas stay as source
      if (isBlock) Object.assign(parent, { tagName: "div", properties: {}, children: [tree] });
      else parent.children[index] = tree;
    });
  };
}

function isFormula({ properties }: Element): boolean {
  return Array.isArray(properties.className) && properties.className.includes("language-math");
}

function textOf(node: Element): string {
  return node.children.map((child) => (child.type === "text" ? child.value : "")).join("");
}

function build(formula: string, displayMode: boolean): Element | undefined {
  try {
    const built = (katex as unknown as Builder).__renderToDomTree(formula, { ...OPTIONS, displayMode });
    const math = find(built);
    return math && (toHast(math) as Element);
  } catch {
    return undefined;
  }
}

/** Return the formula without KaTeX's wrapper. */
function find(built: Built): Built | undefined {
  if (built.type === "math") return built;
  for (const child of built.children ?? []) {
    const formula = find(child);
    if (formula) return formula;
  }
  return undefined;
}

function toHast({ text, type, attributes, children }: Built): ElementContent {
  if (text !== undefined) return { type: "text", value: text };
  return {
    type: "element",
    tagName: type ?? "mrow",
    properties: { ...attributes },
    children: (children ?? []).filter((child) => child.type !== "annotation").map(toHast),
  };
}

export const remarkPlugins: PluggableList = [[remarkMath, { singleDollarTextMath: false }]];
export const rehypePlugins: PluggableList = [rehypeMathML];
