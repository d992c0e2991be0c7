import { useEffect } from "react";
import { useLiveReply } from "../hooks/use-live-reply";

/** Report the text of a run each time it grows. Renders nothing. */
export function ReplyText({ runId, onText }: { runId: string; onText: (text: string) => void }) {
  const reply = useLiveReply(runId);
  useEffect(() => {
    if (reply?.state === "writing")
      onText(reply.parts.map((part) => (part.type === "text" ? part.text : "")).join(""));
  }, [reply, onText]);
  return null;
}
