import { lazy, Suspense } from "react";

const MarkdownText = lazy(() =>
  import("./markdown-text").then((module) => ({ default: module.MarkdownText })),
);

/** A Markdown text outside a chat. */
export function Markdown({ text }: { text: string }) {
  return (
    <Suspense fallback={<p className="prose whitespace-pre-wrap">{text}</p>}>
      <MarkdownText text={text} isStreaming={false} />
    </Suspense>
  );
}
