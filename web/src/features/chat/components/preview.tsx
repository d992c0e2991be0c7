import { useEffect, useRef, useState } from "react";

const LANGUAGES = new Set(["html", "svg", "xhtml"]);

export function isPreviewable(language: string | undefined): boolean {
  return language !== undefined && LANGUAGES.has(language.toLowerCase());
}

/** A page that a model wrote, run apart: its frame has no origin, no network, and nothing of ours. */
export function Preview({ code }: { code: string }) {
  const frame = useRef<HTMLIFrameElement>(null);
  const [isReady, setReady] = useState(false);
  useEffect(() => {
    const listen = (event: MessageEvent<unknown>) => {
      // Only from this very frame, whose origin is none, and only the one word that it says.
      if (event.source === frame.current?.contentWindow && event.origin === "null" && event.data === "ready")
        setReady(true);
    };
    addEventListener("message", listen);
    return () => removeEventListener("message", listen);
  }, []);
  useEffect(() => {
    // Its origin is none, so no other can be named; the frame is the one that said it is ready.
    if (isReady) frame.current?.contentWindow?.postMessage({ show: code }, "*");
  }, [isReady, code]);
  return (
    <iframe
      ref={frame}
      title="Preview"
      src="/preview"
      sandbox="allow-scripts"
      referrerPolicy="no-referrer"
      className="block h-96 w-full rounded-b-card border-hairline border-t bg-surface-raised"
    />
  );
}
