import { useInfiniteQuery, useQueryClient, useSuspenseQuery } from "@tanstack/react-query";
import { Gauge, Layers, Network, Search, Share2, SlidersHorizontal, X } from "lucide-react";
import { type ReactNode, useCallback, useEffect, useMemo, useState } from "react";
import { wordsFor } from "@/api/words";
import { wholeNumber } from "@/lib/dates";
import { dollars } from "@/lib/money";
import { Button, IconButton } from "@/ui/button";
import { SidePanel } from "@/ui/side-panel";
import { Empty, Failed, Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import { useMedia } from "@/ui/use-media";
import { useChatActions, useSending } from "../hooks/use-chat-actions";
import { usePresence } from "../hooks/use-presence";
import {
  type Chat,
  type ChatUpdate,
  cancelRun,
  chatQuery,
  messageQuery,
  messagesQuery,
  placeChat,
  showTarget,
  updateChat,
  type WantedModel,
} from "../queries";
import type { Message } from "../reducer";
import { type ShowToolCall, ToolSlot } from "../tool-slot";
import { ChatSettings } from "./chat-settings";
import { Compare } from "./compare";
import { Composer } from "./composer";
import { ContextPanel } from "./context-panel";
import { HistoryDialog } from "./history-dialog";
import { MessageList } from "./message-list";
import { ThreadPanel } from "./thread-panel";
import { TreeMap } from "./tree-map";

type Slots = {
  menuButton: ReactNode;
  modelChoice: (chat: { provider: string | null; model_name: string | null }, choose: Choose) => ReactNode;
  modelsDialog: (dialog: {
    verb: string;
    onChoose: (models: WantedModel[]) => void;
    onClose: () => void;
  }) => ReactNode;
  waitingWords: (message: Message) => ReactNode;
  notice: ReactNode;
  openChat: (chatId: string) => void;
  findIn: (chatId: string) => void;
  toDraft: (message: Message, words?: string) => void;
  shareDialog: (chat: Chat, onClose: () => void) => ReactNode;
  isShared: boolean; // with people by name
  showToolCall: ShowToolCall;
  toolsChoice: (chosen: readonly string[], choose: (keys: string[]) => Promise<unknown>) => ReactNode;
  chatState: ReactNode;
  needsApproval: boolean;
  aboveComposer?: ReactNode;
  inComposer?: ReactNode;
};
/** What is open over the chat. */
type Opened =
  | { kind: "settings" | "map" | "models" | "share" }
  | { kind: "compare" | "others" | "history"; message: Message }
  | undefined;
type Choose = (provider: string, modelName: string) => void;

/** A chat: its messages, and where one writes the next. */
export function ChatView({
  chatId,
  targetId,
  meId,
  menuButton,
  modelChoice,
  modelsDialog,
  waitingWords,
  notice,
  openChat,
  findIn,
  toDraft,
  shareDialog,
  isShared,
  showToolCall,
  toolsChoice,
  chatState,
  needsApproval,
  aboveComposer,
  inComposer,
}: { chatId: string; targetId?: string; meId: string | undefined } & Slots) {
  const client = useQueryClient();
  const { say } = useToast();
  const { data: chat } = useSuspenseQuery(chatQuery(chatId));
  const loaded = useInfiniteQuery(messagesQuery(chatId));
  const messages = useMemo(
    () => loaded.data?.pages.flatMap((page) => page.items).toReversed() ?? [],
    [loaded.data],
  );
  const [opened, setOpened] = useState<Opened>();
  const close = () => setOpened(undefined);
  const made = useChatActions(chatId, openChat);
  const [threadId, setThreadId] = useState<string>();
  const [isContextShown, setContextShown] = useState(false);
  const dialogs = useMemo(
    () => ({
      compare: (message: Message) => setOpened({ kind: "compare", message }),
      askOthers: (message: Message) => setOpened({ kind: "others", message }),
      showHistory: (message: Message) => setOpened({ kind: "history", message }),
      toDraft,
    }),
    [toDraft],
  );
  const actions = useMemo(() => ({ ...made, ...dialogs, openThread: setThreadId }), [made, dialogs]);
  const isOwn = chat.owner === null;
  const canWrite = chat.permissions.can_write;
  const { others, onTyping } = usePresence(chatId, meId, !isOwn || isShared);
  const [several, setSeveral] = useState<WantedModel[]>([]);
  const { pending, problem, send } = useSending(chatId);
  const [editingId, setEditingId] = useState<string>();
  const { fetchNextPage } = loaded;
  const loadOlder = useCallback(() => void fetchNextPage(), [fetchNextPage]);
  const save = async (update: ChatUpdate) => placeChat(client, await updateChat(chatId, update));

  const writing = messages.findLast((m) => m.status === "sending" || m.status === "streaming");
  const isLoaded = loaded.data !== undefined;
  useEffect(() => {
    if (!targetId || !isLoaded) return;
    const show = async () => {
      const target = await client.fetchQuery(messageQuery(targetId));
      if (target.parent_message_id) setThreadId(target.parent_message_id);
      else await showTarget(client, chatId, targetId);
    };
    void show().catch((error) => say(wordsFor(error)));
  }, [targetId, isLoaded, chatId, client, say]);
  useEffect(() => {
    document.title = `${chat.title} · Tertulia`;
  }, [chat.title]);

  const isWide = useMedia("(min-width: 64rem)");
  const thread = threadId && (
    <ThreadPanel
      key={threadId}
      chatId={chatId}
      parentId={threadId}
      meId={meId}
      canWrite={canWrite}
      dialogs={dialogs}
      openThread={setThreadId}
      openChat={openChat}
      onClose={() => setThreadId(undefined)}
      waitingWords={waitingWords}
    />
  );
  const context = isContextShown && (
    <ContextPanel
      chatId={chatId}
      canWrite={canWrite}
      onShow={(messageId) => {
        if (!isWide) setContextShown(false);
        void showTarget(client, chatId, messageId).catch((error) => say(wordsFor(error)));
      }}
      onClose={() => setContextShown(false)}
    >
      {chatState}
    </ContextPanel>
  );
  return (
    <ToolSlot value={showToolCall}>
      <div className="flex min-h-0 flex-1">
        <div className="flex min-w-0 flex-1 flex-col">
          <header className="flex min-h-14 items-center gap-2 border-hairline border-b px-3">
            {menuButton}
            <div className="min-w-0 flex-1 px-1">
              <h1 className="truncate font-semibold text-md">{chat.title}</h1>
              {(chat.owner || others.length > 0) && (
                <p role="status" className="truncate text-sm text-text-muted">
                  {companyWords(chat.owner?.name, others)}
                </p>
              )}
            </div>
            {chat.total_tokens > 0 && (
              <span
                className="hidden shrink-0 text-sm text-text-muted tabular-nums sm:inline"
                title="Used in this chat so far"
              >
                {wholeNumber(chat.total_tokens)} tokens · {dollars(chat.total_cost)}
              </span>
            )}
            <IconButton
              label="What the model is sent"
              aria-pressed={isContextShown}
              className="aria-pressed:bg-accent-quiet aria-pressed:text-accent"
              onClick={() => {
                setThreadId(undefined);
                setContextShown(!isContextShown);
              }}
            >
              <Gauge size={18} strokeWidth={1.5} aria-hidden />
            </IconButton>
            <IconButton label="Map of the chat" onClick={() => setOpened({ kind: "map" })}>
              <Network size={18} strokeWidth={1.5} aria-hidden />
            </IconButton>
            <IconButton label="Find in this chat" onClick={() => findIn(chatId)}>
              <Search size={18} strokeWidth={1.5} aria-hidden />
            </IconButton>
            {chat.permissions.can_share && chat.kind !== "draft" && (
              <IconButton label="Share" onClick={() => setOpened({ kind: "share" })}>
                <Share2 size={18} strokeWidth={1.5} aria-hidden />
              </IconButton>
            )}
            {isOwn && (
              <IconButton label="Chat settings" onClick={() => setOpened({ kind: "settings" })}>
                <SlidersHorizontal size={18} strokeWidth={1.5} aria-hidden />
              </IconButton>
            )}
          </header>
          {loaded.isPending ? (
            <div className="mx-auto w-full max-w-read flex-1 p-6">
              <Lines widths={["w-1/2 ml-auto", "w-full", "w-5/6", "w-2/3"]} />
            </div>
          ) : loaded.error && messages.length === 0 ? (
            <Failed words={wordsFor(loaded.error)} onRetry={() => void loaded.refetch()} />
          ) : messages.length + pending.length === 0 ? (
            <Empty level={2} title="Nothing said yet">
              Write the first message below.
            </Empty>
          ) : (
            <MessageList
              chatId={chatId}
              targetId={targetId}
              messages={messages}
              meId={meId}
              canWrite={canWrite}
              pending={pending}
              hasOlder={loaded.hasNextPage}
              isLoadingOlder={loaded.isFetchingNextPage}
              loadOlder={loadOlder}
              actions={actions}
              editingId={editingId}
              onEdit={setEditingId}
              waitingWords={waitingWords}
            />
          )}
          <p role="status" className="sr-only">
            {spokenStatus(messages.at(-1), writing, needsApproval)}
          </p>
          {notice}
          {canWrite && aboveComposer}
          {canWrite ? (
            <Composer
              onTyping={onTyping}
              place={chatId}
              problem={problem}
              onSend={async (content, attachmentIds) => {
                const sent = await send(content, {
                  models: several.length ? several : undefined,
                  attachmentIds,
                });
                setSeveral([]);
                if (sent.reply && sent.others.length) setOpened({ kind: "compare", message: sent.reply });
              }}
              onStop={writing?.run_id ? () => void cancelRun(writing.run_id ?? "") : undefined}
              onEditLast={() => setEditingId(messages.findLast((message) => message.role === "user")?.id)}
            >
              {several.length ? (
                <Button look="plain" onClick={() => setSeveral([])}>
                  {several.length === 1 ? several[0]?.model_name : `${several.length} models`}
                  <X size={14} strokeWidth={1.5} aria-label="Ask only the chosen model again" />
                </Button>
              ) : (
                isOwn && modelChoice(chat, (provider, model_name) => void save({ provider, model_name }))
              )}
              <IconButton label="Ask several models" onClick={() => setOpened({ kind: "models" })}>
                <Layers size={16} strokeWidth={1.5} aria-hidden />
              </IconButton>
              {isOwn && toolsChoice(chat.settings.tools ?? [], (tools) => save({ settings: { tools } }))}
              {inComposer}
            </Composer>
          ) : (
            <p className="px-4 pb-4 text-center text-text-muted">
              You may read this chat. Go on from a message in a chat of your own to write.
            </p>
          )}
        </div>
        {thread && (
          <SidePanel label="Thread" onClose={() => setThreadId(undefined)}>
            {thread}
          </SidePanel>
        )}
        {!thread && context && (
          <SidePanel label="Context" onClose={() => setContextShown(false)}>
            {context}
          </SidePanel>
        )}
        {opened?.kind === "share" && shareDialog(chat, close)}
        {opened?.kind === "history" && <HistoryDialog message={opened.message} onClose={close} />}
        <ChatSettings chat={chat} isOpen={opened?.kind === "settings"} onClose={close} onSave={save} />
        {opened?.kind === "map" && (
          <TreeMap
            chatId={chatId}
            shownIds={new Set(messages.map((message) => message.id))}
            onShow={actions.showSibling}
            onClose={close}
          />
        )}
        {opened?.kind === "compare" && (
          <Compare message={opened.message} onShow={actions.showSibling} onClose={close} />
        )}
        {opened?.kind === "models" &&
          modelsDialog({ verb: "Ask these with the next message", onChoose: setSeveral, onClose: close })}
        {opened?.kind === "others" &&
          modelsDialog({
            verb: "Ask now",
            onChoose: (models) => actions.regenerate(opened.message, models),
            onClose: close,
          })}
      </div>
    </ToolSlot>
  );
}

/** Whose chat it is, who else has it open, and who is writing. */
function companyWords(owner: string | undefined, others: { name: string; isTyping: boolean }[]): string {
  const typing = others.filter((one) => one.isTyping).map((one) => one.name);
  if (typing.length) return `${typing.join(", ")} ${typing.length === 1 ? "is" : "are"} writing …`;
  const here = others.map((one) => one.name).join(", ");
  return [owner && `${owner}’s chat`, here && `also here: ${here}`].filter(Boolean).join(" · ");
}

/** Tokens come silently for screen readers; this one line says what is going on. */
function spokenStatus(
  last: Message | undefined,
  writing: Message | undefined,
  needsApproval: boolean,
): string {
  if (needsApproval) return "A tool needs your approval.";
  if (writing) return "Answering.";
  switch (last?.status) {
    case "interrupted":
      return "The reply was interrupted.";
    case "error":
      return "The reply failed.";
    default:
      return last?.role === "assistant" ? "The reply is finished." : "";
  }
}
