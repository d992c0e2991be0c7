import { allowedLink } from "@/lib/links";
import type { Source } from "../references";

/** The pages that a reply cites, numbered as in its text. */
export function Sources({ sources }: { sources: readonly Source[] }) {
  return (
    <section aria-label="Sources" className="text-sm">
      <h4 className="mb-1 text-text-muted">
        {sources.length === 1 ? "1 source" : `${sources.length} sources`}
      </h4>
      <ol className="flex flex-col gap-1">
        {sources.map((source, index) => (
          <li key={source.url} className="flex min-w-0 gap-2">
            <span className="text-text-muted tabular-nums">{index + 1}.</span>
            <Page source={source} />
          </li>
        ))}
      </ol>
    </section>
  );
}

function Page({ source }: { source: Source }) {
  const link = allowedLink(source.url);
  if (!link) return <span className="truncate">{source.title ?? source.url}</span>;
  return (
    <a
      className="min-w-0 truncate text-accent underline"
      href={link.href}
      target="_blank"
      rel="noopener noreferrer nofollow"
    >
      {source.title ? `${source.title} · ${link.host}` : link.host}
    </a>
  );
}
