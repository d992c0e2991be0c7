import { useEffect } from "react";
import { useLiveReply } from "../hooks/use-live-reply";

/** Tells what a run has written so far, each time there is more; shows nothing. */
export function ReplyText({ runId, onText }: { runId: string; onText: (text: string) => void }) {
  const reply = useLiveReply(runId);
  useEffect(() => {
    if (reply?.state === "writing")
      onText(reply.parts.map((part) => (part.type === "text" ? part.text : "")).join(""));
  }, [reply, onText]);
  return null;
}
