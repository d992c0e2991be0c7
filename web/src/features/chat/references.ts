import type { Schemas } from "@/api/client";
import { allowedLink } from "@/lib/links";

export type Source = Schemas["SourcePart"];

/**
 * Put the numbers of the sources behind the passages that cite them, as links, which are shown as small numbers. Vendors that name no passages write links
 * or numbers themselves: `[2]` becomes a link to the second source.
 */
export function withReferences(text: string, sources: readonly Source[]): string {
  const marks = new Map<number, number[]>();
  for (const [index, source] of sources.entries())
    for (const passage of source.passages ?? []) {
      const at = text.indexOf(passage);
      if (passage === "" || at < 0) continue;
      const end = at + passage.trimEnd().length;
      const numbers = marks.get(end) ?? [];
      if (!numbers.includes(index)) marks.set(end, [...numbers, index]);
    }
  let shown = text;
  for (const [end, numbers] of [...marks].sort(([a], [b]) => b - a))
    if (!isInCode(text, end))
      shown = `${shown.slice(0, end)}${numbers.map((number) => reference(number, sources)).join("")}${shown.slice(end)}`;
  if (marks.size > 0 || sources.length === 0) return shown;
  return shown.replace(/\[(\d{1,3})\](?![(:])/g, (whole, digits, at: number) => {
    const number = Number(digits) - 1;
    return sources[number] && !isInCode(shown, at) ? reference(number, sources) : whole;
  });
}

function reference(index: number, sources: readonly Source[]): string {
  const link = allowedLink(sources[index]?.url);
  return link ? `[${index + 1}](<${link.href}>)` : `(${index + 1})`;
}

/** Return whether a place is within code, where a link would be shown as text. */
function isInCode(text: string, at: number): boolean {
  const before = text.slice(0, at);
  const fences = before.match(/^ {0,3}(```|~~~)/gm)?.length ?? 0;
  if (fences % 2 === 1) return true;
  const line = before.slice(before.lastIndexOf("\n") + 1);
  return (line.match(/`/g)?.length ?? 0) % 2 === 1;
}
