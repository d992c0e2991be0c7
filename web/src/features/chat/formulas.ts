const CODE = /(```[\s\S]*?(?:```|$)|~~~[\s\S]*?(?:~~~|$)|`[^`\n]*`)/;
const DISPLAY = /\\\[([\s\S]+?)\\\]/g;
const INLINE = /\\\(([\s\S]+?)\\\)/g;
// Amounts of money are not formulas: no space inside the dollar signs, and no digit after the closing one.
const DOLLARS = /(?<![\\$\w])\$(?=\S)([^$\n]*?[^\s\\$])\$(?![\d$])/g;

/** Rewrite all formulas as `$$…$$`. Code is not changed. */
export function withFormulas(text: string): string {
  if (!/[$\\]/.test(text)) return text;
  return text
    .split(CODE)
    .map((piece, index) =>
      index % 2
        ? piece
        : piece
            .replace(DISPLAY, (_, formula: string) => `\n$$\n${formula.trim()}\n$$\n`)
            .replace(INLINE, (_, formula: string) => `$$${formula.trim()}$$`)
            .replace(DOLLARS, (_, formula: string) => `$$${formula}$$`),
    )
    .join("");
}

export function hasFormulas(text: string): boolean {
  return text.includes("$$");
}
