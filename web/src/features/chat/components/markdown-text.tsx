import type { Root } from "mdast";
import { cloneElement, isValidElement, memo, type ReactElement, useEffect, useMemo, useState } from "react";
import remarkBreaks from "remark-breaks";
import { type Components, defaultRehypePlugins, defaultRemarkPlugins, Streamdown } from "streamdown";
import { visit } from "unist-util-visit";
import { allowedLink } from "@/lib/links";
import { hasFormulas, withFormulas } from "../formulas";
import { CodeBlock } from "./code-block";

/** HTML in a text is shown as text, never rendered. */
function remarkHtmlAsText() {
  return (tree: Root) => {
    visit(tree, "html", (node) => {
      (node as { type: string }).type = "text";
    });
  };
}

type Marked = ReactElement<{ "data-block"?: string }>;

const components: Components = {
  a: ({ href, children }) => {
    const link = allowedLink(href);
    if (!link) return <>{children}</>;
    const isReference = typeof children === "string" && /^\d{1,3}$/.test(children);
    return (
      <a
        href={link.href}
        target="_blank"
        rel="noopener noreferrer nofollow"
        title={link.host}
        aria-label={isReference ? `Source ${children}: ${link.host}` : undefined}
        className={isReference ? "ml-0.5 align-super text-xs no-underline" : undefined}
      >
        {children}
      </a>
    );
  },
  // External images are not loaded: that would reveal the reader to their server.
  img: ({ src, alt }) => {
    const link = allowedLink(typeof src === "string" ? src : undefined);
    const words = alt || "picture";
    if (!link) return <>{words}</>;
    return (
      <a href={link.href} target="_blank" rel="noopener noreferrer nofollow">
        {`${words} (picture at ${link.host})`}
      </a>
    );
  },
  table: ({ children }) => (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
    <section className="overflow-x-auto" aria-label="Table" tabIndex={0}>
      <table>{children}</table>
    </section>
  ),
  thead: "thead",
  tbody: "tbody",
  tr: "tr",
  th: "th",
  td: "td",
  p: "p",
  ul: "ul",
  ol: "ol",
  li: "li",
  h1: "h3",
  h2: "h3",
  h3: "h4",
  h4: "h5",
  h5: "h6",
  h6: "h6",
  blockquote: "blockquote",
  strong: "strong",
  em: "em",
  hr: "hr",
  sup: "sup",
  sub: "sub",
  section: "section",
  // Streamdown distinguishes code blocks from inline code by this attribute, which its own `pre` would set.
  pre: ({ children }) =>
    isValidElement(children) ? cloneElement(children as Marked, { "data-block": "true" }) : children,
  code: ({ children, className }) => (
    <CodeBlock
      code={String(children ?? "").replace(/\n$/, "")}
      language={/language-(\S+)/.exec(className ?? "")?.[1]}
    />
  ),
  inlineCode: ({ children }) => <code>{children}</code>,
};

const remarkPlugins = [...Object.values(defaultRemarkPlugins), remarkHtmlAsText];
const rehypePlugins = [defaultRehypePlugins.sanitize, defaultRehypePlugins.harden].filter(
  (p) => p !== undefined,
);

/** The text of a message as Markdown, the same while streaming and when finished. */
export const MarkdownText = memo(function MarkdownText({
  text,
  isStreaming,
  keepsLines = false,
}: {
  text: string;
  isStreaming: boolean;
  keepsLines?: boolean; // lines end where the person ended them
}) {
  const shown = useMemo(() => withFormulas(text), [text]);
  const math = useMathematics(hasFormulas(shown));
  const remark = useMemo(
    () => [...remarkPlugins, ...(keepsLines ? [remarkBreaks] : []), ...(math?.remarkPlugins ?? [])],
    [keepsLines, math],
  );
  return (
    <Streamdown
      key={math ? "math" : "plain"}
      className="prose"
      mode={isStreaming ? "streaming" : "static"}
      parseIncompleteMarkdown={isStreaming}
      components={components}
      remarkPlugins={remark}
      rehypePlugins={math ? [...rehypePlugins, ...math.rehypePlugins] : rehypePlugins}
      controls={false}
    >
      {shown}
    </Streamdown>
  );
});

type Mathematics = typeof import("../mathematics");
let loaded: Mathematics | undefined;

/** The formula renderer, loaded when the first formula appears. Until then formulas are shown as source. */
function useMathematics(isNeeded: boolean): Mathematics | undefined {
  const [, setLoaded] = useState(loaded);
  useEffect(() => {
    if (!isNeeded || loaded) return;
    void import("../mathematics").then((module) => {
      loaded = module;
      setLoaded(module);
    });
  }, [isNeeded]);
  return isNeeded ? loaded : undefined;
}
