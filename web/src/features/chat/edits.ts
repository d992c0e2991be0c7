const BLOCK = /<edit>\s*<find>([\s\S]*?)<\/find>\s*<replace>([\s\S]*?)<\/replace>\s*<\/edit>/g;
const UNFINISHED = /<edit>(?![\s\S]*<\/edit>)[\s\S]*$/;

/** Format the edits that a model proposes to a draft. An incomplete edit is not shown yet. */
export function readableEdits(text: string): string {
  if (!text.includes("<edit>")) return text;
  return text
    .replace(UNFINISHED, "…")
    .replace(BLOCK, (_, find: string, replacement: string) => {
      const [removed, came] = [quoted(find), quoted(replacement)];
      if (!came) return `\n- “${removed}” goes\n`;
      return `\n- “${removed}” becomes “${came}”\n`;
    })
    .trim();
}

const quoted = (words: string) => words.trim().replace(/\s+/g, " ");
