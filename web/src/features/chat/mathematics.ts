import rehypeKatex from "rehype-katex";
import remarkMath from "remark-math";
import type { PluggableList } from "unified";

/** Formulas as MathML, which browsers draw themselves: no fonts and no styles of ours. Loaded when one is in a text. */
export const remarkPlugins: PluggableList = [[remarkMath, { singleDollarTextMath: false }]];
export const rehypePlugins: PluggableList = [
  [
    rehypeKatex,
    { output: "mathml", trust: false, strict: "ignore", maxExpand: 500, maxSize: 20, throwOnError: false },
  ],
];
