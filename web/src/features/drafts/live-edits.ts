/** A change that a model is still writing, in units of the text. */
export type LiveEdit = { start: number; end: number; newText: string };

const BLOCK = /<edit>\s*<find>([\s\S]*?)<\/find>\s*<replace>([\s\S]*?)(?:<\/replace>|$)/g;
const HALF_A_TAG = /<\/?[a-z]*$/;

/**
 * What can be seen of a proposal while it is written: of a selection its new wording, of an empty text the text, else the
 * edits whose words are found exactly. When the reply has ended the server places them, also those that are only nearly right.
 */
export function liveEdits(
  text: string,
  reply: string,
  selection: { start: number; end: number } | undefined,
): LiveEdit[] {
  if (!reply.trim()) return [];
  if (selection) return [{ ...selection, newText: reply.trimStart().replace(HALF_A_TAG, "") }];
  if (!text) return [{ start: 0, end: 0, newText: reply.trimStart() }];
  const found: LiveEdit[] = [];
  let from = 0;
  for (const [, find = "", replacement = ""] of reply.matchAll(BLOCK)) {
    const words = [find, find.trim()].find((one) => one && text.indexOf(one, from) >= 0);
    if (!words) continue;
    const start = text.indexOf(words, from);
    from = start + words.length;
    const newText = words === find ? replacement : replacement.trim();
    found.push({ start, end: from, newText: newText.replace(HALF_A_TAG, "") });
  }
  return found;
}
