import type { Schemas } from "@/api/client";
import { toUnits } from "./characters";
import type { Authored } from "./editor";
import { getRichText, type RichText } from "./queries";
import type { Saver } from "./saver";

export const WORDS = /[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*/gu;

/** Return the headings of a Markdown text, at most a hundred. */
export function headingsOf(text: string): { level: number; words: string; at: number }[] {
  return [...text.matchAll(/^(#{1,6}) +(.+)$/gm)]
    .slice(0, 100)
    .map((match) => ({ level: match[1]?.length ?? 1, words: match[2] ?? "", at: match.index }));
}

/** Return each part of a version's text with its author and the version that added it. */
export function authorsOf(text: string, { items, versions }: Schemas["Authorship"]): Authored[] {
  const known = new Map(versions.map((version) => [version.version_number, version]));
  let counted = 0;
  const ends = toUnits(
    text,
    items.map(({ length }) => {
      counted += length;
      return counted;
    }),
  );
  return items.map(({ version_number }, index) => {
    const origin = known.get(version_number);
    const isModels = origin !== undefined && origin.generation_source !== "user";
    const who = isModels ? (origin.model_name ?? "A model") : (origin?.author?.name ?? "A person");
    return {
      length: (ends[index] ?? 0) - (ends[index - 1] ?? 0),
      who: isModels ? "model" : "person",
      words: `${who}, version ${version_number}`,
    };
  });
}

/** Copy the text as HTML with headings, lists and links, and as Markdown for programs without HTML. */
export async function copyRich(draftId: string, saver: Saver | undefined): Promise<void> {
  const blob = (async () => {
    await saver?.save();
    return getRichText(draftId);
  })();
  // A promise keeps the permission of the click until the server has answered.
  const as = (type: string, take: (rich: RichText) => string) =>
    blob.then((rich) => new Blob([take(rich)], { type }));
  await navigator.clipboard.write([
    new ClipboardItem({
      "text/html": as("text/html", (rich) => rich.html),
      "text/plain": as("text/plain", (rich) => rich.content),
    }),
  ]);
}
