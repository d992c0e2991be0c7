import type { Message } from "./reducer";

/** Return a message as Markdown to copy. Code blocks are kept, reasoning is left out. */
export function asMarkdown(message: Message): string {
  return message.parts.map(partAsMarkdown).filter(Boolean).join("\n\n");
}

function partAsMarkdown(part: Message["parts"][number]): string {
  switch (part.type) {
    case "text":
      return part.text;
    case "code": {
      // The fence is longer than any in the code, so the code cannot close it.
      const longest = Math.max(0, ...(part.code.match(/`+/g) ?? []).map((run) => run.length));
      const fence = "`".repeat(Math.max(3, longest + 1));
      return `${fence}${part.language}\n${part.code}\n${fence}`;
    }
    case "image":
      return part.url ? `![${part.alt ?? ""}](${part.url})` : `*[${part.alt ?? "picture"}]*`;
    case "file":
      return `*[${part.file_name}]*`;
    case "source":
      return `[${part.title ?? part.url}](${part.url})`;
    case "refusal":
      return part.text || "*The model refused to answer.*";
    case "tool_call":
      return `*[called ${part.tool_name}]*`;
    case "reasoning":
      return "";
  }
}
