import type { Schemas } from "@/api/client";
import { allowedLink } from "@/lib/links";

const MOST_MARKS = 500; // in one text

export type Source = Schemas["SourcePart"];

/**
 * Put the numbers of the sources behind the passages that cite them, as links, which are shown as small numbers. Vendors that name no passages write links
 * or numbers themselves: `[2]` becomes a link to the second source.
 */
export function withReferences(text: string, sources: readonly Source[]): string {
  const marks = new Map<number, number[]>();
  let left = MOST_MARKS;
  for (const [index, source] of sources.entries())
    for (const passage of source.passages ?? []) {
      left -= 1;
      if (left < 0) break;
      const at = text.indexOf(passage);
      if (passage === "" || at < 0) continue;
      const end = at + passage.trimEnd().length;
      const numbers = marks.get(end) ?? [];
      if (!numbers.includes(index)) marks.set(end, [...numbers, index]);
    }
  let shown = text;
  const isCode = codeIn(text);
  for (const [end, numbers] of [...marks].sort(([a], [b]) => b - a))
    if (!isCode(end))
      shown = `${shown.slice(0, end)}${numbers.map((number) => reference(number, sources)).join("")}${shown.slice(end)}`;
  if (marks.size > 0 || sources.length === 0) return shown;
  let replaced = 0;
  return shown.replace(/\[(\d{1,3})\](?![(:])/g, (whole, digits, at: number) => {
    const number = Number(digits) - 1;
    if (!sources[number] || isCode(at) || replaced >= MOST_MARKS) return whole;
    replaced += 1;
    return reference(number, sources);
  });
}

function reference(index: number, sources: readonly Source[]): string {
  const link = allowedLink(sources[index]?.url);
  return link ? `[${index + 1}](<${link.href}>)` : `(${index + 1})`;
}

/** Return a function that says whether a place is within code, where a link would be shown as text. */
function codeIn(text: string): (at: number) => boolean {
  const ranges: [number, number][] = [];
  for (const match of text.matchAll(/^ {0,3}(```|~~~)[^\n]*\n[\s\S]*?(?:^ {0,3}\1|(?![\s\S]))|`[^`\n]+`/gm))
    ranges.push([match.index, match.index + match[0].length]);
  return (at) => {
    let low = 0;
    let high = ranges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((ranges[middle]?.[1] ?? 0) <= at) low = middle + 1;
      else high = middle;
    }
    return at > (ranges[low]?.[0] ?? Number.POSITIVE_INFINITY);
  };
}
