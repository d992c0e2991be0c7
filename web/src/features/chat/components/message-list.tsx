import { useQuery } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDown } from "lucide-react";
import { type ReactNode, type RefObject, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { Button } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { boundaries } from "../boundaries";
import { contextQuery, optimizationsQuery } from "../queries";
import type { Message } from "../reducer";
import type { ChannelSlot } from "./chat/provider";
import type { MessageActions, MessageDialogs } from "./message-actions";
import { MessageRow } from "./message-row";
import { BoundaryLine } from "./optimizations";
import { SelectedWords } from "./selected-words";

const MARKED_MS = 1600;
const END_PX = 80; // so near to the end, it is shown
const SEEN_MS = 500; // what is shown so long counts as read

export type Pending = { key: string; content: string; files: number; isWaiting?: boolean };
type Props = {
  chatId: string;
  targetId: string | undefined; // the message to scroll to
  messages: Message[]; // oldest first
  meId: string | undefined;
  isOwn: boolean;
  canWrite: boolean;
  pending: Pending[];
  hasOlder: boolean;
  isLoadingOlder: boolean;
  loadOlder: () => void;
  actions: MessageActions & MessageDialogs;
  editingId: string | undefined;
  onEdit: (messageId: string | undefined) => void;
  waitingWords: (message: Message) => ReactNode;
  isChannel?: boolean;
  channel?: ChannelSlot;
};

/** A virtualized list of a branch. The scroll position stays when messages arrive. */
export function MessageList({
  messages,
  pending,
  hasOlder,
  isLoadingOlder,
  loadOlder,
  chatId,
  targetId,
  isChannel = false,
  channel,
  ...row
}: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [isAtEnd, setAtEnd] = useState(!targetId);
  const { data: compactions } = useQuery(optimizationsQuery(chatId));
  const isShorter = compactions?.some((item) => !item.reverted_at) ?? false;
  const { data: context } = useQuery({ ...contextQuery(chatId), enabled: isShorter });
  const ends = useMemo(
    () => boundaries(compactions ?? [], isShorter ? (context?.applied ?? []) : []),
    [compactions, isShorter, context],
  );
  const virtualizer = useVirtualizer({
    count: messages.length + pending.length,
    getScrollElement: () => box.current,
    estimateSize: (index) => 76 + Math.ceil((messages[index]?.content.length ?? 80) / 80) * 27,
    getItemKey: (index) => messages[index]?.id ?? pending[index - messages.length]?.key ?? index,
    anchorTo: "end",
    followOnAppend: true,
    scrollEndThreshold: END_PX,
    overscan: 6,
    gap: 8,
    paddingStart: 24,
    paddingEnd: 24,
  });

  // biome-ignore lint/correctness/useExhaustiveDependencies: once for each chat that is opened
  useLayoutEffect(() => virtualizer.scrollToEnd(), [chatId]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: once for each message that the person sends
  useLayoutEffect(() => {
    if (pending.length > 0) virtualizer.scrollToEnd();
  }, [pending.length]);
  useEffect(() => {
    const list = box.current;
    if (!list || !isAtEnd) return;
    // The message box below takes more of the height while it is written in.
    let height = list.clientHeight;
    const observer = new ResizeObserver(() => {
      if (list.clientHeight !== height) virtualizer.scrollToEnd();
      height = list.clientHeight;
    });
    observer.observe(list);
    return () => observer.disconnect();
  }, [isAtEnd, virtualizer]);

  const targetIndex = targetId ? messages.findIndex((message) => message.id === targetId) : -1;
  const [markedId, setMarkedId] = useState<string>();
  const isFound = targetIndex >= 0;
  // biome-ignore lint/correctness/useExhaustiveDependencies: once for each message that is come to; not as others arrive
  useEffect(() => {
    if (!isFound) return;
    virtualizer.scrollToIndex(targetIndex, { align: "center" });
    setMarkedId(targetId);
    const timer = setTimeout(() => setMarkedId(undefined), MARKED_MS);
    return () => clearTimeout(timer);
  }, [targetId, isFound]);

  const newFrom = useUnread(messages, channel, isAtEnd ? box : undefined, row.meId);
  const isOpened = useRef(false);
  useLayoutEffect(() => {
    if (isOpened.current || !channel) return;
    isOpened.current = true;
    const place = messages.findIndex((message) => message.id === newFrom);
    if (place >= 0 && !targetId) virtualizer.scrollToIndex(place, { align: "start" });
  }, [channel, newFrom, messages, targetId, virtualizer]);
  const first = virtualizer.range?.startIndex ?? 0;
  useEffect(() => {
    if (first < 10 && hasOlder && !isLoadingOlder) loadOlder();
  }, [first, hasOlder, isLoadingOlder, loadOlder]);

  return (
    <div className="relative min-h-0 flex-1">
      <section
        ref={box}
        aria-label="Messages"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        tabIndex={0}
        className="h-full overflow-y-auto overscroll-contain outline-none [overflow-anchor:none]"
        onScroll={() => setAtEnd(virtualizer.isAtEnd(END_PX))}
      >
        <div className="relative mx-auto w-full max-w-read" style={{ height: virtualizer.getTotalSize() }}>
          {virtualizer.getVirtualItems().map((item) => {
            const message = messages[item.index];
            const waiting = pending[item.index - messages.length];
            return (
              <div
                key={item.key}
                ref={virtualizer.measureElement}
                data-index={item.index}
                className={cx(
                  "absolute inset-x-0 top-0 rounded-card px-4 transition-colors duration-300",
                  message && message.id === markedId && "bg-accent-quiet",
                )}
                style={{ transform: `translateY(${item.start}px)` }}
              >
                {message ? (
                  <>
                    {message.id === newFrom && <NewLine />}
                    <MessageRow
                      message={message}
                      meId={row.meId}
                      isOwn={row.isOwn}
                      canWrite={row.canWrite}
                      actions={row.actions}
                      isEditing={row.editingId === message.id}
                      onEdit={row.onEdit}
                      waitingWords={row.waitingWords}
                      isChannel={isChannel}
                    />
                    <BoundaryLine kind={ends.get(message.id)} />
                  </>
                ) : (
                  waiting && (
                    <article aria-label="Your message, being sent" className="flex flex-col gap-1">
                      <div
                        className={cx(
                          "prose whitespace-pre-wrap",
                          !isChannel && "ml-auto max-w-[85%] rounded-card bg-surface-quiet px-4 py-2",
                        )}
                      >
                        {waiting.content}
                        {waiting.files > 0 && (
                          <span className="block text-text-muted">
                            {waiting.files === 1 ? "With one file" : `With ${waiting.files} files`}
                          </span>
                        )}
                      </div>
                      <p className={cx("min-h-8 text-sm text-text-muted", !isChannel && "text-right")}>
                        {waiting.isWaiting
                          ? "Not connected. It is sent as soon as the server is back."
                          : "Sending …"}
                      </p>
                    </article>
                  )
                )}
              </div>
            );
          })}
        </div>
      </section>
      <SelectedWords
        onDraft={(messageId, words) => {
          const message = messages.find((item) => item.id === messageId);
          if (message) row.actions.toDraft(message, words);
        }}
      />
      {!isAtEnd && (
        <Button
          className="absolute bottom-3 left-1/2 -translate-x-1/2 rounded-full bg-surface-raised shadow-float"
          onClick={() => virtualizer.scrollToEnd({ behavior: "smooth" })}
        >
          <ArrowDown size={16} strokeWidth={1.5} aria-hidden /> New below
        </Button>
      )}
    </div>
  );
}

/**
 * Return the first message that was new when the channel was opened, above which a line is drawn. What is at the end of a
 * visible window for a moment counts as read. `atEnd` is the list while its end is shown.
 */
function useUnread(
  messages: Message[],
  channel: ChannelSlot | undefined,
  atEnd: RefObject<HTMLElement | null> | undefined,
  meId: string | undefined,
): string | undefined {
  const lastReadId = channel?.lastReadId;
  const [stored, setReadBefore] = useState(lastReadId);
  const readBefore = stored ?? lastReadId;
  const markRead = channel?.markRead;
  const newestId = messages.at(-1)?.id;
  useEffect(() => setReadBefore((before) => before ?? lastReadId), [lastReadId]);
  useEffect(() => {
    if (!markRead || !newestId || !atEnd) return;
    const read = () => {
      const list = atEnd.current;
      // A list that is opened at what is new is at its end for a moment.
      const isEndShown = list && list.scrollHeight - list.scrollTop - list.clientHeight < END_PX;
      if (isEndShown && !document.hidden) markRead(newestId);
    };
    const timer = setTimeout(read, SEEN_MS);
    document.addEventListener("visibilitychange", read);
    return () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", read);
    };
  }, [markRead, newestId, atEnd]);
  if (readBefore === undefined) return undefined;
  return messages.find((message) => message.id > readBefore && message.user?.id !== meId)?.id;
}

function NewLine() {
  return (
    <div className="flex items-center gap-2 pb-2 font-medium text-accent text-xs">
      <hr className="flex-1 border-accent" aria-hidden />
      New
      <hr className="flex-1 border-accent" aria-hidden />
    </div>
  );
}
