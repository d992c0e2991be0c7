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

/** The same as one text, for where nothing but text can stand. */
export function named(text: string): string {
  return pieces(text)
    .map((piece) => (piece.isHidden ? `[${piece.text}]` : piece.text))
    .join("");
}

/** JSON that one can edit: what would not be seen stands as its escape, which means the same. */
export function spelledOut(json: string): string {
  return json.replace(HIDDEN, (hidden) =>
    Array.from({ length: hidden.length }, (_, at) => hidden.charCodeAt(at))
      .map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`)
      .join(""),
  );
}

/** A number as it was written, where it is longer than what a number can hold. */
export class ExactNumber {
  constructor(readonly digits: string) {}
}

type Reviver = (key: string, value: unknown, context?: { source?: string }) => unknown;

/** What JSON says, long numbers to the last digit where the browser tells how they were written. */
export function parseExactly(json: string): Record<string, unknown> {
  const revive: Reviver = (_, value, context) =>
    typeof value === "number" && !Number.isSafeInteger(value) && context?.source !== undefined
      ? String(value) === context.source
        ? value
        : new ExactNumber(context.source)
      : value;
  return JSON.parse(json, revive as Parameters<typeof JSON.parse>[1]) as Record<string, unknown>;
}

/** A value of an argument as text; what is nested stands as JSON. */
export function asText(value: unknown): string {
  if (typeof value === "string") return value;
  if (value instanceof ExactNumber) return value.digits;
  const exact = new Map<string, string>();
  const text = JSON.stringify(
    value,
    (_, one: unknown) => {
      if (!(one instanceof ExactNumber)) return one;
      const mark = `\u0000${exact.size}`;
      exact.set(JSON.stringify(mark), one.digits);
      return mark;
    },
    2,
  );
  return [...exact].reduce((found, [mark, digits]) => found.replace(mark, digits), text);
}
