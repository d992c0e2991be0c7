import { ChevronRight } from "lucide-react";
import { lazy, Suspense, use, useMemo } from "react";
import type { Schemas } from "@/api/client";
import { allowedLink } from "@/lib/links";
import { readableEdits } from "../edits";
import type { LivePart } from "../reducer";
import { type Source, withReferences } from "../references";
import { ToolSlot } from "../tool-slot";
import { CodeBlock } from "./code-block";
import { OwnFile, OwnPicture } from "./file-part";
import { Sources } from "./sources";

// Markdown is half of the code, so it is loaded with the first reply. Until then the plain text is shown.
const MarkdownText = lazy(() =>
  import("./markdown-text").then((module) => ({ default: module.MarkdownText })),
);

type Part = Schemas["MessageRead"]["parts"][number] | LivePart;

/** The parts of a message in order. `isMarkdown` is false for a user's message, which is shown as typed. */
export function MessageParts({
  parts,
  messageId,
  isMarkdown,
  keepsLines,
  isStreaming,
}: {
  parts: readonly Part[];
  messageId: string;
  isMarkdown: boolean;
  keepsLines?: boolean; // of Markdown that a person wrote
  isStreaming: boolean;
}) {
  const sources = useMemo(() => parts.filter((part) => part.type === "source"), [parts]);
  return (
    <div className="flex min-w-0 flex-col gap-3">
      {parts.map((part, index) => (
        <OnePart
          // biome-ignore lint/suspicious/noArrayIndexKey: a part is known by its place in the message
          key={index}
          part={part}
          sources={sources}
          messageId={messageId}
          isMarkdown={isMarkdown}
          keepsLines={keepsLines}
          isStreaming={isStreaming && index === parts.length - 1}
        />
      ))}
      {sources.length > 0 && <Sources sources={sources} />}
    </div>
  );
}

function OnePart({
  part,
  sources,
  messageId,
  isMarkdown,
  keepsLines,
  isStreaming,
}: {
  part: Part;
  sources: Source[];
  messageId: string;
  isMarkdown: boolean;
  keepsLines: boolean | undefined;
  isStreaming: boolean;
}) {
  const showToolCall = use(ToolSlot);
  switch (part.type) {
    case "tool_call":
      return showToolCall?.(part, messageId) ?? <p className="text-text-muted">Called {part.tool_name}</p>;
    case "text":
      if (part.text === "") return null;
      return isMarkdown ? (
        <Suspense fallback={<p className="prose whitespace-pre-wrap">{part.text}</p>}>
          <ReferencedText
            text={part.text}
            sources={sources}
            keepsLines={keepsLines}
            isStreaming={isStreaming}
          />
        </Suspense>
      ) : (
        <p className="prose whitespace-pre-wrap">{part.text}</p>
      );
    case "code":
      return <CodeBlock code={part.code} language={part.language} />;
    case "reasoning":
      return (
        <details className="group text-text-muted">
          <summary className="flex min-h-8 w-fit cursor-pointer list-none items-center gap-1 rounded-control text-sm hover:text-text">
            <ChevronRight
              size={14}
              strokeWidth={1.5}
              aria-hidden
              className="transition-transform group-open:rotate-90"
            />
            <span className={isStreaming ? "shimmer" : undefined}>
              {isStreaming ? "Thinking …" : thoughtWords(part)}
            </span>
          </summary>
          <p className="whitespace-pre-wrap border-hairline border-l py-1 pl-4 text-base">{part.text}</p>
        </details>
      );
    case "file":
      return <OwnFile part={part} />;
    case "image":
      if (part.attachment_id) return <OwnPicture part={{ ...part, attachment_id: part.attachment_id }} />;
      return <Elsewhere url={part.url ?? undefined} words={part.alt || "Picture"} />;
    case "refusal":
      return (
        <p className="rounded-card bg-surface-quiet px-3 py-2">
          <span className="text-text-muted">The model refused to answer.</span> {part.text}
        </p>
      );
    case "source":
      return null; // all of them are listed at the end
  }
}

function ReferencedText({
  text,
  sources,
  keepsLines,
  isStreaming,
}: {
  text: string;
  sources: Source[];
  keepsLines: boolean | undefined;
  isStreaming: boolean;
}) {
  const shown = useMemo(() => withReferences(readableEdits(text), sources), [text, sources]);
  return <MarkdownText text={shown} keepsLines={keepsLines} isStreaming={isStreaming} />;
}

function Elsewhere({ url, words }: { url: string | undefined; words: string | undefined }) {
  const link = allowedLink(url);
  if (!link) return <span>{words}</span>;
  return (
    <a className="text-accent underline" href={link.href} target="_blank" rel="noopener noreferrer nofollow">
      {words ?? link.host}
    </a>
  );
}

/** How long the model reasoned, if known. */
function thoughtWords(part: Part): string {
  const took = "duration_ms" in part ? part.duration_ms : null;
  if (!took) return "Thoughts";
  return took < 1000 ? "Thought for a moment" : `Thought for ${Math.round(took / 1000)} s`;
}
