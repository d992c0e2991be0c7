import { useInfiniteQuery, useQueryClient, useSuspenseQuery } from "@tanstack/react-query";
import { Layers, Network, SlidersHorizontal, X } from "lucide-react";
import { type ReactNode, useCallback, useEffect, useMemo, useState } from "react";
import { wordsFor } from "@/api/words";
import { wholeNumber } from "@/lib/dates";
import { dollars } from "@/lib/money";
import { Button, IconButton } from "@/ui/button";
import { Empty, Failed, Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import { useChatActions, useSending } from "../hooks/use-chat-actions";
import {
  type ChatUpdate,
  cancelRun,
  chatQuery,
  messagesQuery,
  placeChat,
  showTarget,
  updateChat,
  type WantedModel,
} from "../queries";
import type { Message } from "../reducer";
import { ChatSettings } from "./chat-settings";
import { Compare } from "./compare";
import { Composer } from "./composer";
import { MessageList } from "./message-list";
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
};
/** What is open over the chat. */
type Opened =
  | { kind: "settings" | "map" | "models" }
  | { kind: "compare" | "others"; message: Message }
  | undefined;
type Choose = (provider: string, modelName: string) => void;

/** A chat: its messages, and where one writes the next. */
export function ChatView({
  chatId,
  targetId,
  menuButton,
  modelChoice,
  modelsDialog,
  waitingWords,
  notice,
  openChat,
}: { chatId: string; targetId?: string } & Slots) {
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
  const actions = useMemo(
    () => ({
      ...made,
      compare: (message: Message) => setOpened({ kind: "compare", message }),
      askOthers: (message: Message) => setOpened({ kind: "others", message }),
    }),
    [made],
  );
  const [several, setSeveral] = useState<WantedModel[]>([]);
  const { pending, problem, send } = useSending(chatId);
  const [editingId, setEditingId] = useState<string>();
  const { fetchNextPage } = loaded;
  const loadOlder = useCallback(() => void fetchNextPage(), [fetchNextPage]);
  const save = async (update: ChatUpdate) => placeChat(client, await updateChat(chatId, update));

  const writing = messages.findLast((m) => m.status === "sending" || m.status === "streaming");
  const isLoaded = loaded.data !== undefined;
  useEffect(() => {
    if (targetId && isLoaded)
      void showTarget(client, chatId, targetId).catch((error) => say(wordsFor(error)));
  }, [targetId, isLoaded, chatId, client, say]);
  useEffect(() => {
    document.title = `${chat.title} · Tertulia`;
  }, [chat.title]);

  return (
    <>
      <header className="flex min-h-14 items-center gap-2 border-hairline border-b px-3">
        {menuButton}
        <h1 className="min-w-0 flex-1 truncate px-1 font-semibold text-md">{chat.title}</h1>
        {chat.total_tokens > 0 && (
          <span
            className="hidden shrink-0 text-sm text-text-muted tabular-nums sm:inline"
            title="Used in this chat so far"
          >
            {wholeNumber(chat.total_tokens)} tokens · {dollars(chat.total_cost)}
          </span>
        )}
        <IconButton label="Map of the chat" onClick={() => setOpened({ kind: "map" })}>
          <Network size={18} strokeWidth={1.5} aria-hidden />
        </IconButton>
        <IconButton label="Chat settings" onClick={() => setOpened({ kind: "settings" })}>
          <SlidersHorizontal size={18} strokeWidth={1.5} aria-hidden />
        </IconButton>
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
        {spokenStatus(messages.at(-1), writing)}
      </p>
      {notice}
      <Composer
        place={chatId}
        problem={problem}
        onSend={async (content) => {
          const sent = await send(content, several.length ? several : undefined);
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
          modelChoice(chat, (provider, model_name) => void save({ provider, model_name }))
        )}
        <IconButton label="Ask several models" onClick={() => setOpened({ kind: "models" })}>
          <Layers size={16} strokeWidth={1.5} aria-hidden />
        </IconButton>
      </Composer>
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
    </>
  );
}

/** Tokens come silently for screen readers; this one line says what is going on. */
function spokenStatus(last: Message | undefined, writing: Message | undefined): string {
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
