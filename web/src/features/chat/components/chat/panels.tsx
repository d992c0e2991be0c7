import { useQueryClient } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { wordsFor } from "@/api/words";
import { SidePanel } from "@/ui/side-panel";
import { useToast } from "@/ui/toast";
import { useMedia } from "@/ui/use-media";
import { showTarget } from "../../cache";
import { ContextPanel } from "../context-panel";
import { ThreadPanel } from "../thread-panel";
import { useChat } from "./provider";

/** The panel next to the messages: a thread or the context. `children` come first in the context panel. */
export function Panels({ children }: { children?: ReactNode }) {
  const client = useQueryClient();
  const { say } = useToast();
  const isWide = useMedia("(min-width: 64rem)");
  const {
    chat,
    channel,
    messages,
    meId,
    isOwn,
    canWrite,
    slots,
    dialogs,
    threadId,
    setThreadId,
    isContextShown,
    setContextShown,
  } = useChat();
  // Otherwise, what is below in the channel would count as read with the thread.
  const isMainRead = channel !== undefined && (messages.at(-1)?.id ?? "") <= channel.lastReadId;
  if (threadId)
    return (
      <SidePanel label="Thread" onClose={() => setThreadId(undefined)}>
        <ThreadPanel
          isChannel={chat.kind === "channel"}
          people={channel?.people}
          onRead={isMainRead ? channel?.markRead : undefined}
          key={threadId}
          chatId={chat.id}
          parentId={threadId}
          meId={meId}
          isOwn={isOwn}
          canWrite={canWrite}
          dialogs={dialogs}
          openThread={setThreadId}
          openChat={slots.openChat}
          onClose={() => setThreadId(undefined)}
          waitingWords={slots.waitingLabel}
        />
      </SidePanel>
    );
  if (!isContextShown) return null;
  const show = (messageId: string) => {
    if (!isWide) setContextShown(false);
    void showTarget(client, chat.id, messageId).catch((error) => say(wordsFor(error)));
  };
  return (
    <SidePanel label="Context" onClose={() => setContextShown(false)}>
      <ContextPanel chatId={chat.id} canWrite={canWrite} onShow={show} onClose={() => setContextShown(false)}>
        {children}
      </ContextPanel>
    </SidePanel>
  );
}
