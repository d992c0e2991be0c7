import { pieces } from "../hidden";

/** Text that somebody is to decide about: what would not be seen in it is shown. */
export function PlainText({ text }: { text: string }) {
  return (
    <span className="whitespace-pre-wrap break-words">
      {pieces(text).map((piece, index) =>
        piece.isHidden ? (
          <mark
            // biome-ignore lint/suspicious/noArrayIndexKey: pieces are known by their place
            key={index}
            title="A character that is not seen"
            className="rounded bg-warning-quiet px-0.5 font-mono text-warning text-xs"
          >
            {piece.text}
          </mark>
        ) : (
          piece.text
        ),
      )}
    </span>
  );
}

/** The arguments of a call, one under the other; what is nested stands as JSON. */
export function Arguments({ values }: { values: Record<string, unknown> }) {
  const names = Object.keys(values);
  if (names.length === 0) return <p className="text-text-muted">No arguments.</p>;
  return (
    <dl className="grid gap-x-4 gap-y-1.5 sm:grid-cols-[max-content_1fr]">
      {names.map((name) => (
        <div key={name} className="contents">
          <dt className="font-mono text-sm text-text-muted">
            <PlainText text={name} />
          </dt>
          <dd className="max-h-60 min-w-0 overflow-y-auto font-mono text-sm">
            <PlainText text={asText(values[name])} />
          </dd>
        </div>
      ))}
    </dl>
  );
}

function asText(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}
