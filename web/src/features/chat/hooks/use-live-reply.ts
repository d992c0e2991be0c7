import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { useRealtime } from "@/realtime/provider";
import { placeMessage } from "../cache";
import { applyRunEvent, type LiveReply, nothingYet } from "../reducer";

/** Follow a run while it is shown. The finished message is placed into the cache. */
export function useLiveReply(runId: string | undefined): LiveReply | undefined {
  const realtime = useRealtime();
  const client = useQueryClient();
  const [live, setLive] = useState<{ runId: string; reply: LiveReply }>();
  useEffect(() => {
    if (!runId) return;
    let reply = nothingYet;
    let frame = 0;
    const show = () => {
      frame = 0;
      setLive({ runId, reply });
    };
    const leave = realtime.follow(runId, (event) => {
      reply = applyRunEvent(reply, event);
      if (event.type === "message.finished") placeMessage(client, event.message);
      // Deltas within one frame are painted together.
      if (!frame) frame = requestAnimationFrame(show);
    });
    return () => {
      leave();
      cancelAnimationFrame(frame);
    };
  }, [runId, realtime, client]);
  return live && live.runId === runId ? live.reply : undefined;
}
