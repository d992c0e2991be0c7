import { useEffect, useRef, useState } from "react";

const LANGUAGES = new Set(["html", "svg", "xhtml"]);

export function isPreviewable(language: string | undefined): boolean {
  return language !== undefined && LANGUAGES.has(language.toLowerCase());
}

/** Run a page that a model wrote in a frame without an origin, a network or access to this page. */
export function Preview({ code }: { code: string }) {
  const frame = useRef<HTMLIFrameElement>(null);
  const [isReady, setReady] = useState(false);
  useEffect(() => {
    const listen = (event: MessageEvent<unknown>) => {
      // Accept only this frame, which has no origin, and only this message.
      if (event.source === frame.current?.contentWindow && event.origin === "null" && event.data === "ready")
        setReady(true);
    };
    addEventListener("message", listen);
    return () => removeEventListener("message", listen);
  }, []);
  useEffect(() => {
    // The frame has no origin that could be named. It has just said that it is ready.
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
