/** A stretch of a text, or one character that would not be seen, with its name. */
export type Piece = { text: string; isHidden: boolean };

// Control, bidi, zero-width and other characters that say something without being seen; line breaks and tabs are seen.
const HIDDEN = /(?!\n|\t|\r\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/** A text with what is hidden in it named, so that a person approves what they see. */
export function pieces(text: string): Piece[] {
  const found: Piece[] = [];
  let at = 0;
  for (const match of text.matchAll(HIDDEN)) {
    if (match.index > at) found.push({ text: text.slice(at, match.index), isHidden: false });
    const code = match[0].codePointAt(0) ?? 0;
    found.push({ text: `U+${code.toString(16).toUpperCase().padStart(4, "0")}`, isHidden: true });
    at = match.index + match[0].length;
  }
  if (at < text.length) found.push({ text: text.slice(at), isHidden: false });
  return found;
}

/** Values as JSON that one can edit: what would not be seen stands as its escape, which means the same. */
export function spelledOut(values: unknown): string {
  return JSON.stringify(values, null, 2).replace(HIDDEN, (hidden) =>
    Array.from({ length: hidden.length }, (_, at) => hidden.charCodeAt(at))
      .map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`)
      .join(""),
  );
}
