/*
 * The server counts characters, as Python does; the browser counts units of UTF-16, of which a character beyond the basic
 * plane, such as most emoji, has two. Places and lengths are turned into the other's where they cross.
 */

const hasPairs = (text: string) => /[\ud800-\udfff]/.test(text);

/** The place in characters of one in units. */
export function toCharacters(text: string, units: number): number {
  const before = text.slice(0, units);
  return hasPairs(before) ? [...before].length : units;
}

/** The places in units of rising ones in characters. */
export function toUnits(text: string, characters: readonly number[]): number[] {
  if (!hasPairs(text)) return [...characters];
  const found: number[] = [];
  let units = 0;
  let counted = 0;
  for (const wanted of characters) {
    while (counted < wanted && units < text.length) {
      units += (text.codePointAt(units) ?? 0) > 0xffff ? 2 : 1;
      counted++;
    }
    found.push(units);
  }
  return found;
}
