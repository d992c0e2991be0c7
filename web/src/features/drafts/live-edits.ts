/** An edit that a model is still writing, in UTF-16 units of the text. */
export type LiveEdit = { start: number; end: number; newText: string };

const BLOCK = /<edit>\s*<find>([\s\S]*?)<\/find>\s*<replace>([\s\S]*?)(?:<\/replace>|$)/g;
const HALF_A_TAG = /<\/?[a-z]*$/;

/**
 * Return what is visible of a proposal while it is written: the new text of a selection, the text of an empty draft, or the
 * edits whose text is found exactly. When the reply is complete, the server also places approximate matches.
 */
export function liveEdits(
  text: string,
  reply: string,
  selection: { start: number; end: number } | undefined,
): LiveEdit[] {
  if (!reply.trim()) return [];
  if (selection) return [{ ...selection, newText: reply.trimStart().replace(HALF_A_TAG, "") }];
  if (!text) return [{ start: 0, end: 0, newText: reply.trimStart() }];
  const edits: LiveEdit[] = [];
  let from = 0;
  for (const [, find = "", replacement = ""] of reply.matchAll(BLOCK)) {
    const words = [find, find.trim()].find((candidate) => candidate && text.indexOf(candidate, from) >= 0);
    if (!words) continue;
    const start = text.indexOf(words, from);
    from = start + words.length;
    const newText = words === find ? replacement : replacement.trim();
    edits.push({ start, end: from, newText: newText.replace(HALF_A_TAG, "") });
  }
  return edits;
}
