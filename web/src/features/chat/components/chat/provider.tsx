import { useInfiniteQuery, useQueryClient, useSuspenseQuery } from "@tanstack/react-query";
import { createContext, type ReactNode, use, useCallback, useEffect, useMemo, useState } from "react";
import { wordsFor } from "@/api/words";
import { useToast } from "@/ui/toast";
import { placeChat, showTarget } from "../../cache";
import { useChatActions, useSending } from "../../hooks/use-chat-actions";
import type { Mentionable } from "../../hooks/use-mention";
import { usePresence } from "../../hooks/use-presence";
import {
  type Chat,
  type ChatUpdate,
  chatQuery,
  type ModelRef,
  messageQuery,
  messagesQuery,
  updateChat,
} from "../../queries";
import type { Message } from "../../reducer";
import { type ShowToolCall, ToolSlot } from "../../tool-slot";
import type { MessageActions, MessageDialogs } from "../message-actions";

/** The model that a chat uses, as far as the chat shows it. */
export type UsedModel = {
  provider: string;
  model_name: string;
  display_name: string;
  ignores: readonly string[]; // settings that it does not take
  context_window: number | null;
  own_window: number | null;
  /** Missing if its window cannot be set. */
  saveWindow?: (model: UsedModel, tokens: number | null) => Promise<unknown>;
};

/** A channel as the person reads it. */
export type ChannelSlot = {
  lastReadId: string; // of the newest message that the person has read
  markRead: (messageId: string) => void; // an earlier one than before changes nothing
  people: readonly Mentionable[]; // who can be named
};

/** What other features show inside a chat. The page that composes the chat supplies it. */
export type ChatSlots = {
  openChat: (chatId: string) => void;
  toDraft: (message: Message, text?: string) => void;
  showToolCall: ShowToolCall;
  waitingLabel: (message: Message) => ReactNode;
  modelOf: (chat: { provider: string | null; model_name: string | null }) => UsedModel | undefined;
  modelsDialog: (dialog: {
    verb: string;
    onChoose: (models: ModelRef[]) => void;
    onClose: () => void;
  }) => ReactNode;
};

/** The dialog that is open over the chat. */
export type OpenDialog =
  | { kind: "settings" | "map" | "models" }
  | { kind: "compare" | "others" | "history"; message: Message };

type ChatContextValue = {
  chat: Chat;
  targetId: string | undefined;
  meId: string | undefined;
  isOwn: boolean;
  canWrite: boolean;
  slots: ChatSlots;
  channel: ChannelSlot | undefined;
  messages: Message[]; // oldest first
  loaded: ReturnType<typeof useLoadedMessages>["loaded"];
  sending: ReturnType<typeof useSending>;
  writing: Message | undefined; // the reply that is being written
  actions: MessageActions & MessageDialogs;
  dialogs: Omit<MessageDialogs, "openThread">;
  editingId: string | undefined;
  setEditingId: (messageId: string | undefined) => void;
  dialog: OpenDialog | undefined;
  setDialog: (dialog: OpenDialog | undefined) => void;
  threadId: string | undefined;
  setThreadId: (messageId: string | undefined) => void;
  isContextShown: boolean;
  setContextShown: (isShown: boolean) => void;
  severalModels: ModelRef[];
  setSeveralModels: (models: ModelRef[]) => void;
  presence: ReturnType<typeof usePresence>;
  save: (update: ChatUpdate) => Promise<void>;
};

const ChatContext = createContext<ChatContextValue | undefined>(undefined);

export function useChat(): ChatContextValue {
  const chat = use(ChatContext);
  if (!chat) throw new Error("useChat outside of Chat.Provider");
  return chat;
}

type Props = {
  chatId: string;
  targetId?: string; // the message to scroll to
  meId: string | undefined;
  isShared: boolean; // shared with users by name
  slots: ChatSlots;
  channel?: ChannelSlot;
  children: ReactNode;
};

/** Load a chat and hold the state that its parts share. */
export function Provider({ chatId, targetId, meId, isShared, slots, channel, children }: Props) {
  const client = useQueryClient();
  const { data: chat } = useSuspenseQuery(chatQuery(chatId));
  const { loaded, messages } = useLoadedMessages(chatId);
  const [dialog, setDialog] = useState<OpenDialog>();
  const [threadId, setThreadId] = useState<string>();
  const [isContextShown, setContextShown] = useState(false);
  const [severalModels, setSeveralModels] = useState<ModelRef[]>([]);
  const [editingId, setEditingId] = useState<string>();
  const isOwn = chat.owner === null;
  const presence = usePresence(chatId, meId, !isOwn || isShared || chat.kind === "channel");
  const sending = useSending(chatId);
  const { toDraft } = slots;
  const dialogs = useMemo(
    () => ({
      compare: (message: Message) => setDialog({ kind: "compare", message }),
      askOthers: (message: Message) => setDialog({ kind: "others", message }),
      showHistory: (message: Message) => setDialog({ kind: "history", message }),
      toDraft,
    }),
    [toDraft],
  );
  const chatActions = useChatActions(chatId, slots.openChat);
  const actions = useMemo(
    () => ({ ...chatActions, ...dialogs, openThread: setThreadId }),
    [chatActions, dialogs],
  );
  useTarget(chatId, targetId, loaded.data !== undefined, setThreadId);
  useEffect(() => {
    document.title = `${chat.title} · Tertulia`;
  }, [chat.title]);
  const save = useCallback(
    async (update: ChatUpdate) => placeChat(client, await updateChat(chatId, update)),
    [client, chatId],
  );
  const value: ChatContextValue = {
    chat,
    targetId,
    meId,
    isOwn,
    canWrite: chat.permissions.can_write,
    slots,
    channel,
    messages,
    loaded,
    sending,
    writing: messages.findLast((message) => message.status === "sending" || message.status === "streaming"),
    actions,
    dialogs,
    editingId,
    setEditingId,
    dialog,
    setDialog,
    threadId,
    setThreadId,
    isContextShown,
    setContextShown,
    severalModels,
    setSeveralModels,
    presence,
    save,
  };
  return (
    <ToolSlot value={slots.showToolCall}>
      <ChatContext value={value}>{children}</ChatContext>
    </ToolSlot>
  );
}

function useLoadedMessages(chatId: string) {
  const loaded = useInfiniteQuery(messagesQuery(chatId));
  const messages = useMemo(
    () => loaded.data?.pages.flatMap((page) => page.items).toReversed() ?? [],
    [loaded.data],
  );
  return { loaded, messages };
}

/** Show the message that the address names, in its thread if it is in one. */
function useTarget(
  chatId: string,
  targetId: string | undefined,
  isLoaded: boolean,
  openThread: (messageId: string) => void,
): void {
  const client = useQueryClient();
  const { say } = useToast();
  useEffect(() => {
    if (!targetId || !isLoaded) return;
    const show = async () => {
      const target = await client.fetchQuery(messageQuery(targetId));
      if (target.parent_message_id) openThread(target.parent_message_id);
      else await showTarget(client, chatId, targetId);
    };
    void show().catch((error) => say(wordsFor(error)));
  }, [targetId, isLoaded, chatId, client, say, openThread]);
}
