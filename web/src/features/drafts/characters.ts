/*
 * The server counts characters as Python does. The browser counts UTF-16 units, of which most emoji have two. Positions
 * and lengths are converted where they cross this boundary.
 */

const hasPairs = (text: string) => /[\ud800-\udfff]/.test(text);

/** Convert a position in UTF-16 units to characters. */
export function toCharacters(text: string, units: number): number {
  const before = text.slice(0, units);
  return hasPairs(before) ? [...before].length : units;
}

/** Convert ascending positions in characters to UTF-16 units. */
export function toUnits(text: string, characters: readonly number[]): number[] {
  if (!hasPairs(text)) return [...characters];
  const positions: number[] = [];
  let units = 0;
  let counted = 0;
  for (const wanted of characters) {
    while (counted < wanted && units < text.length) {
      units += (text.codePointAt(units) ?? 0) > 0xffff ? 2 : 1;
      counted++;
    }
    positions.push(units);
  }
  return positions;
}
