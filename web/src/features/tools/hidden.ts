/** A part of a text, or one hidden character with its name. */
export type Piece = { text: string; isHidden: boolean };

// Control, bidirectional, zero-width and other invisible characters. Line breaks and tabs are visible.
const HIDDEN = /(?!\n|\t|\r\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/** Split a text so that hidden characters are named, and users approve what they see. */
export function pieces(text: string): Piece[] {
  const parts: Piece[] = [];
  let at = 0;
  for (const match of text.matchAll(HIDDEN)) {
    if (match.index > at) parts.push({ text: text.slice(at, match.index), isHidden: false });
    const code = match[0].codePointAt(0) ?? 0;
    parts.push({ text: `U+${code.toString(16).toUpperCase().padStart(4, "0")}`, isHidden: true });
    at = match.index + match[0].length;
  }
  if (at < text.length) parts.push({ text: text.slice(at), isHidden: false });
  return parts;
}

/** Return the same as one string, where only text is possible. */
export function named(text: string): string {
  return pieces(text)
    .map((piece) => (piece.isHidden ? `[${piece.text}]` : piece.text))
    .join("");
}

/** Return JSON for editing, with hidden characters as escapes. */
export function spelledOut(json: string): string {
  return json.replace(HIDDEN, (hidden) =>
    Array.from({ length: hidden.length }, (_, at) => hidden.charCodeAt(at))
      .map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`)
      .join(""),
  );
}

/** A number as written, if it has more digits than a JavaScript number. */
export class ExactNumber {
  constructor(readonly digits: string) {}
}

type Reviver = (key: string, value: unknown, context?: { source?: string }) => unknown;

/** Parse JSON and keep all digits of long numbers, if the browser supports it. */
export function parseExactly(json: string): Record<string, unknown> {
  const revive: Reviver = (_, value, context) =>
    typeof value === "number" && !Number.isSafeInteger(value) && context?.source !== undefined
      ? String(value) === context.source
        ? value
        : new ExactNumber(context.source)
      : value;
  return JSON.parse(json, revive as Parameters<typeof JSON.parse>[1]) as Record<string, unknown>;
}

/** Return the value of an argument as text. Nested values are JSON. */
export function asText(value: unknown): string {
  if (typeof value === "string") return value;
  if (value instanceof ExactNumber) return value.digits;
  const exact = new Map<string, string>();
  const text = JSON.stringify(
    value,
    (_, part: unknown) => {
      if (!(part instanceof ExactNumber)) return part;
      const mark = `\u0000${exact.size}`;
      exact.set(JSON.stringify(mark), part.digits);
      return mark;
    },
    2,
  );
  return [...exact].reduce((result, [mark, digits]) => result.replace(mark, digits), text);
}
