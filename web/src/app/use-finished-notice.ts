import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useCallback, useEffect, useRef } from "react";
import { meQuery } from "@/features/accounts";
import { channelsQuery } from "@/features/projects";
import { getCall } from "@/features/tools";
import type { ChangeEvent } from "@/realtime/protocol";
import { useRealtime } from "@/realtime/provider";

/**
 * Announce finished replies, pending tool calls and mentions while the window is hidden: in the title, and by
 * notifications if wanted.
 */
export function useFinishedNotice(): void {
  const realtime = useRealtime();
  const client = useQueryClient();
  const navigate = useNavigate();
  useEffect(() => {
    const clear = () => {
      if (!document.hidden) document.title = document.title.replace(/^● /, "");
    };
    document.addEventListener("visibilitychange", clear);
    return () => document.removeEventListener("visibilitychange", clear);
  }, []);
  const announce = useCallback(
    (news: News) => {
      if (!document.title.startsWith("● ")) document.title = `● ${document.title}`;
      const wants = client.getQueryData(meQuery.queryKey)?.preferences.enable_notifications;
      if (!wants || !("Notification" in window) || Notification.permission !== "granted") return;
      const shown = new Notification("Tertulia", { body: news.words, tag: news.chatId });
      shown.onclick = () => {
        window.focus();
        void navigate({ to: "/c/$chatId", params: { chatId: news.chatId } });
      };
    },
    [client, navigate],
  );
  useEffect(
    () =>
      realtime.listen(async (message) => {
        if (message.tell !== "change" || !document.hidden) return;
        const news = await newsOf(message.change, client.getQueryData(meQuery.queryKey)?.id);
        if (news) announce(news);
      }),
    [realtime, client, announce],
  );
  const { data: channels } = useQuery({ ...channelsQuery, enabled: false }); // the side bar asks for them
  const mentions = useRef(new Map<string, number>());
  useEffect(() => {
    if (!channels) return;
    for (const { id, name, chat_id, mention_count } of channels) {
      const isMore = mention_count > (mentions.current.get(id) ?? mention_count);
      if (isMore && document.hidden) announce({ words: `You are mentioned in #${name}.`, chatId: chat_id });
      mentions.current.set(id, mention_count);
    }
    const total = channels.reduce((sum, channel) => sum + channel.mention_count, 0);
    void navigator.setAppBadge?.(total).catch(() => undefined); // on the icon of the installed app, where there is one
  }, [channels, announce]);
}

type News = { words: string; chatId: string };

/** Return what to announce about a change, if anything. */
async function newsOf(change: ChangeEvent, meId: string | undefined): Promise<News | undefined> {
  if (change.entity === "run") {
    const run = change.payload;
    if (run?.ended_at && run.status !== "cancelled")
      return { words: "A reply is finished.", chatId: run.chat_id };
  }
  if (change.entity === "tool_execution") {
    // In another user's chat the change has no details, so they are fetched.
    const call = change.payload ?? (await getCall(change.entity_id).catch(() => null));
    if (call?.requested_by !== meId) return undefined; // another user decides about it
    if (call?.status === "pending")
      return { words: `${call.tool_name} waits for your decision.`, chatId: call.chat_id };
    if (call?.question) return { words: `${call.tool_name} asks you something.`, chatId: call.chat_id };
  }
  return undefined;
}
