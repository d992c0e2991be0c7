const CODE = /(```[\s\S]*?(?:```|$)|~~~[\s\S]*?(?:~~~|$)|`[^`\n]*`)/;
const DISPLAY = /\\\[([\s\S]+?)\\\]/g;
const INLINE = /\\\(([\s\S]+?)\\\)/g;
// A sum of money is no formula: what opens is followed by a sign, what closes is preceded by one, and no digit follows it.
const DOLLARS = /(?<![\\$\w])\$(?=\S)([^$\n]*?[^\s\\$])\$(?![\d$])/g;

/** The text with formulas in one form, `$$…$$`, however the model wrote them; code stays as it is. */
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
