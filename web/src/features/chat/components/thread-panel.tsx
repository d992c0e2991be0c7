import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { X } from "lucide-react";
import { type ReactNode, useEffect, useMemo, useRef, useState } from "react";
import { wordsFor } from "@/api/words";
import { Button, IconButton } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { Failed, Lines } from "@/ui/states";
import { useChatActions, useSending } from "../hooks/use-chat-actions";
import type { Mentionable } from "../hooks/use-mention";
import { cancelRun, messageQuery, threadQuery } from "../queries";
import type { Message } from "../reducer";
import { Composer } from "./composer";
import { Forecast } from "./forecast";
import type { MessageDialogs } from "./message-actions";
import { MessageParts } from "./message-parts";
import { Author, MessageRow } from "./message-row";

type Props = {
  isChannel: boolean;
  people?: readonly Mentionable[];
  onRead?: (messageId: string) => void; // called with the newest reply that is shown
  chatId: string;
  parentId: string;
  meId: string | undefined;
  isOwn: boolean;
  canWrite: boolean;
  dialogs: Omit<MessageDialogs, "openThread">;
  openThread: (messageId: string) => void;
  openChat: (chatId: string) => void;
  onClose: () => void;
  waitingWords: (message: Message) => ReactNode;
};

/** The thread of a message. Its replies are not part of the chat's branch; the model knows the messages before it. */
export function ThreadPanel({
  isChannel,
  people,
  onRead,
  chatId,
  parentId,
  meId,
  isOwn,
  canWrite,
  dialogs,
  openThread,
  openChat,
  onClose,
  waitingWords,
}: Props) {
  const parent = useQuery({ ...messageQuery(parentId), retry: false });
  const { data, error, hasNextPage, fetchNextPage, refetch, isPending } = useInfiniteQuery(
    threadQuery(chatId, parentId),
  );
  const messages = useMemo(() => data?.pages.flatMap((page) => page.items).toReversed() ?? [], [data]);
  const newestId = messages.at(-1)?.id;
  useEffect(() => {
    if (newestId && !document.hidden) onRead?.(newestId);
  }, [newestId, onRead]);
  const chatActions = useChatActions(chatId, openChat, parentId);
  const actions = useMemo(
    () => ({ ...chatActions, ...dialogs, openThread }),
    [chatActions, dialogs, openThread],
  );
  const { pending, problem, send } = useSending(chatId, parentId);
  const [editingId, setEditingId] = useState<string>();
  const end = useRef<HTMLDivElement>(null);
  const count = messages.length + pending.length;
  // biome-ignore lint/correctness/useExhaustiveDependencies: as more is said, its end is shown
  useEffect(() => {
    end.current?.scrollIntoView({ block: "end" });
  }, [count]);
  const writing = messages.findLast(
    (message) => message.status === "sending" || message.status === "streaming",
  );
  return (
    <>
      <header className="flex min-h-14 items-center gap-2 border-hairline border-b px-3">
        <h2 className="min-w-0 flex-1 truncate px-1 font-semibold text-md">Thread</h2>
        {parent.data?.parent_message_id && (
          <Button look="plain" onClick={() => openThread(parent.data.parent_message_id ?? "")}>
            Up
          </Button>
        )}
        <IconButton label="Close the thread" onClick={onClose}>
          <X size={18} strokeWidth={1.5} aria-hidden />
        </IconButton>
      </header>
      <section aria-label="Thread" className="min-h-0 flex-1 overflow-y-auto px-4 py-4">
        <div className="mb-4 border-hairline border-b pb-4">
          {parent.data ? (
            <div className="max-h-60 overflow-y-auto rounded-card bg-surface-quiet px-3 py-2">
              {isChannel && <Author message={parent.data} />}
              <MessageParts
                messageId={parent.data.id}
                parts={parent.data.parts}
                isMarkdown={parent.data.role !== "user" || isChannel}
                keepsLines={parent.data.role === "user"}
                isStreaming={false}
              />
            </div>
          ) : (
            <p className="text-text-muted">
              {parent.isPending ? "…" : "The message that this answers was deleted."}
            </p>
          )}
        </div>
        {isPending ? (
          <Lines widths={["w-full", "w-2/3"]} />
        ) : error && messages.length === 0 ? (
          <Failed words={wordsFor(error)} onRetry={() => void refetch()} />
        ) : (
          <div className="flex flex-col gap-3">
            {hasNextPage && <Button onClick={() => void fetchNextPage()}>Show earlier replies</Button>}
            {messages.map((message) => (
              <MessageRow
                key={message.id}
                message={message}
                meId={meId}
                isOwn={isOwn}
                canWrite={canWrite}
                actions={actions}
                isEditing={editingId === message.id}
                onEdit={setEditingId}
                waitingWords={waitingWords}
                isChannel={isChannel}
              />
            ))}
            {pending.map((waiting) => (
              <p
                key={waiting.key}
                className={cx(!isChannel && "ml-auto max-w-[85%] rounded-card bg-surface-quiet px-4 py-2")}
              >
                {waiting.content}
              </p>
            ))}
            {count === 0 && <p className="text-text-muted">Nobody has answered yet.</p>}
          </div>
        )}
        <div ref={end} />
      </section>
      {canWrite && (
        <Composer
          people={people}
          place={`${chatId}.${parentId}`}
          label="Reply in the thread"
          problem={problem}
          cost={(next) => <Forecast chatId={chatId} models={[]} next={next} />}
          onSend={async (content, attachmentIds) => {
            await send(content, { attachmentIds });
          }}
          onStop={writing?.run_id ? () => void cancelRun(writing.run_id ?? "") : undefined}
        />
      )}
    </>
  );
}
