import type { Root } from "hast";
import { toJsxRuntime } from "hast-util-to-jsx-runtime";
import { Check, Code, Copy, Download, Eye, WrapText } from "lucide-react";
import { memo, useEffect, useState } from "react";
import { Fragment, jsx, jsxs } from "react/jsx-runtime";
import { IconButton } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { useCopied } from "@/ui/use-copied";
import { isPreviewable, Preview } from "./preview";

/** A code block with its language and a copy button. */
export const CodeBlock = memo(function CodeBlock({
  code,
  language,
}: {
  code: string;
  language: string | undefined;
}) {
  const [isWrapped, setWrapped] = useState(false);
  const [isCopied, copy] = useCopied();
  const [isShown, setShown] = useState(false);
  const tree = useHighlighted(code, language);
  return (
    <figure className="rounded-card border border-hairline bg-surface-quiet">
      <figcaption className="flex items-center justify-between gap-2 py-1 pr-1 pl-3 text-sm text-text-muted">
        <span>{language ?? "text"}</span>
        <span className="flex">
          <IconButton
            label={isWrapped ? "Do not wrap lines" : "Wrap lines"}
            onClick={() => setWrapped(!isWrapped)}
          >
            <WrapText size={16} strokeWidth={1.5} aria-hidden />
          </IconButton>
          {isPreviewable(language) && (
            <IconButton
              label={isShown ? "Show the code" : "Preview"}
              aria-pressed={isShown}
              onClick={() => setShown(!isShown)}
            >
              {isShown ? (
                <Code size={16} strokeWidth={1.5} aria-hidden />
              ) : (
                <Eye size={16} strokeWidth={1.5} aria-hidden />
              )}
            </IconButton>
          )}
          <IconButton label="Download" onClick={() => download(code, language)}>
            <Download size={16} strokeWidth={1.5} aria-hidden />
          </IconButton>
          <IconButton label={isCopied ? "Copied" : "Copy code"} onClick={() => copy(code)}>
            {isCopied ? (
              <Check size={16} strokeWidth={1.5} aria-hidden />
            ) : (
              <Copy size={16} strokeWidth={1.5} aria-hidden />
            )}
          </IconButton>
        </span>
      </figcaption>
      {isShown ? (
        <Preview code={code} />
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        <pre tabIndex={0} className={cx("overflow-x-auto px-3 pb-3", isWrapped && "whitespace-pre-wrap")}>
          <code>{tree ? toJsxRuntime(tree, { Fragment, jsx, jsxs }) : code}</code>
        </pre>
      )}
    </figure>
  );
});

function useHighlighted(code: string, language: string | undefined): Root | undefined {
  const [highlighted, setHighlighted] = useState<{ code: string; tree: Root | undefined }>();
  useEffect(() => {
    if (!language) return;
    let isWanted = true;
    void import("../highlight")
      .then(({ highlight }) => highlight(code, language))
      .then((tree) => isWanted && setHighlighted({ code, tree }));
    return () => {
      isWanted = false;
    };
  }, [code, language]);
  // While more code arrives, old highlighting would belong to another text.
  return highlighted?.code === code ? highlighted.tree : undefined;
}

function download(code: string, language: string | undefined): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([code], { type: "text/plain" }));
  link.download = `code.${language && /^[a-z0-9+]{1,10}$/i.test(language) ? language : "txt"}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
