import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect } from "react";
import { meQuery } from "@/features/accounts";
import { getCall } from "@/features/tools";
import type { ChangeEvent } from "@/realtime/protocol";
import { useRealtime } from "@/realtime/provider";

/** A reply that ends, and a tool that waits, while the window is hidden: told by the title, and by the system if the person wants that. */
export function useFinishedNotice(): void {
  const realtime = useRealtime();
  const client = useQueryClient();
  const navigate = useNavigate();
  useEffect(() => {
    const clear = () => {
      if (!document.hidden) document.title = document.title.replace(/^● /, "");
    };
    document.addEventListener("visibilitychange", clear);
    const leave = realtime.listen(async (message) => {
      if (message.tell !== "change" || !document.hidden) return;
      const news = await newsOf(message.change, client.getQueryData(meQuery.queryKey)?.id);
      if (!news) return;
      if (!document.title.startsWith("● ")) document.title = `● ${document.title}`;
      const wants = client.getQueryData(meQuery.queryKey)?.preferences.enable_notifications;
      if (!wants || !("Notification" in window) || Notification.permission !== "granted") return;
      const shown = new Notification("Tertulia", { body: news.words, tag: news.chatId });
      shown.onclick = () => {
        window.focus();
        void navigate({ to: "/c/$chatId", params: { chatId: news.chatId } });
      };
    });
    return () => {
      leave();
      document.removeEventListener("visibilitychange", clear);
    };
  }, [realtime, client, navigate]);
}

/** What of a change is worth saying to somebody who looks elsewhere. */
async function newsOf(
  change: ChangeEvent,
  meId: string | undefined,
): Promise<{ words: string; chatId: string } | undefined> {
  if (change.entity === "run") {
    const run = change.payload;
    if (run?.ended_at && run.status !== "cancelled")
      return { words: "A reply is finished.", chatId: run.chat_id };
  }
  if (change.entity === "tool_execution") {
    // Of a call in another's chat it is told that there is one: what it is, one asks for oneself.
    const call = change.payload ?? (await getCall(change.entity_id).catch(() => null));
    if (call?.requested_by !== meId) return undefined; // another decides about it
    if (call?.status === "pending")
      return { words: `${call.tool_name} waits for your decision.`, chatId: call.chat_id };
    if (call?.question) return { words: `${call.tool_name} asks you something.`, chatId: call.chat_id };
  }
  return undefined;
}
