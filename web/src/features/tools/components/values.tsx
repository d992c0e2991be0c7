import { useMemo } from "react";
import { asText, parseExactly, pieces } from "../hidden";

/** Text that a user decides about. Hidden characters are shown. */
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

/** The arguments of a call as a list. Nested values are JSON. */
export function Arguments({ json }: { json: string }) {
  const values = useMemo(() => parseExactly(json), [json]);
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

type Described = { description: string; parameters: Record<string, unknown> };

/** The description of a tool, next to the accepted one if its server has changed it. */
export function Definition({ described, changed }: { described: Described; changed: Described | null }) {
  if (!changed)
    return (
      <p className="line-clamp-4 text-text-muted">
        <PlainText text={described.description} />
      </p>
    );
  const isOther = JSON.stringify(described.parameters) !== JSON.stringify(changed.parameters);
  return (
    <dl className="mt-1 flex flex-col gap-2 rounded-control bg-warning-quiet px-3 py-2 text-sm">
      {(
        [
          ["Until now", described],
          ["Its server says now", changed],
        ] as const
      ).map(([label, definition]) => (
        <div key={label}>
          <dt className="text-warning">{label}</dt>
          <dd className="max-h-60 overflow-y-auto">
            <PlainText text={definition.description} />
            {isOther && (
              <span className="block font-mono text-xs">
                <PlainText text={JSON.stringify(definition.parameters, null, 1)} />
              </span>
            )}
          </dd>
        </div>
      ))}
    </dl>
  );
}
