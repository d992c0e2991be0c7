import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { FolderInput, FolderOpen, Search, Share2 } from "lucide-react";
import { type ReactNode, useMemo, useState } from "react";
import { wordsFor } from "@/api/words";
import { meQuery } from "@/features/accounts";
import { PlaceLimits } from "@/features/billing";
import { Chat, chatQuery, PublicChoice, WaitingWords } from "@/features/chat";
import { AttachDraft, AttachedDrafts, createDraft } from "@/features/drafts";
import {
  EffortChoice,
  ModelPicker,
  ModelsDialog,
  modelStateWords,
  modelsQuery,
  PicturesSwitch,
  SearchSwitch,
  useSaveWindow,
} from "@/features/models";
import {
  channelsQuery,
  MoveDialog,
  mentionablesQuery,
  placeChannel,
  projectsQuery,
  readChannel,
} from "@/features/projects";
import { ShareDialog, sharesQuery } from "@/features/sharing";
import { ChatState, pendingQuery, ToolCallCard, ToolsChoice } from "@/features/tools";
import { throttled } from "@/lib/throttled";
import { IconButton } from "@/ui/button";
import { MenuButton } from "@/ui/menu-button";
import { useToast } from "@/ui/toast";
import { ModelNotice } from "./model-notice";

type Props = {
  chatId: string;
  messageId?: string;
  draftId?: string; // the draft that the chat is about
  chatsOfDraft?: ReactNode; // shown next to a draft, in place of the page's menu
};

/** A chat, composed of its parts and of the parts of other features. */
export function ChatPage({ chatId, messageId, draftId, chatsOfDraft }: Props) {
  const { data: me } = useQuery(meQuery);
  const { data: chat } = useQuery(chatQuery(chatId));
  const { data: shares = [] } = useQuery({
    ...sharesQuery(draftId ? { kind: "drafts", id: draftId } : { kind: "chats", id: chatId }),
    enabled: chat?.owner === null,
  });
  const { data: pendingCalls = [] } = useQuery(pendingQuery);
  const slots = useSlots(me?.id);
  const channel = useChannel(chatId);
  const isAlone = chatsOfDraft === undefined;
  return (
    <Chat.Provider
      key={chatId}
      chatId={chatId}
      targetId={messageId}
      meId={me?.id}
      isShared={shares.some((share) => share.shared_with !== null)}
      slots={slots}
      channel={channel}
    >
      <div className="flex min-h-0 flex-1">
        <div className="flex min-w-0 flex-1 flex-col">
          <Chat.Header menu={chatsOfDraft ?? <MenuButton />}>
            <FindButton />
            <ProjectButton />
            <ShareButton />
          </Chat.Header>
          <Chat.Messages />
          <Chat.Status needsApproval={pendingCalls.some((call) => call.chat_id === chatId)} />
          <ModelNotice />
          {isAlone && <Attached />}
          {chat?.kind === "channel" ? (
            <Chat.Composer modelChoice={null}>{null}</Chat.Composer>
          ) : (
            <Chat.Composer modelChoice={<ChatModel />}>
              <ReplyChoices />
              <Tools />
              {isAlone && <AttachDraft chatId={chatId} />}
            </Chat.Composer>
          )}
        </div>
        <Chat.Panels>
          <ChatState chatId={chatId} />
          {chat?.owner === null && <PlaceLimits place={{ kind: "chat", id: chatId }} />}
        </Chat.Panels>
        <Chat.Dialogs />
      </div>
    </Chat.Provider>
  );
}

/** What drafts, models and tools render inside a chat. */
function useSlots(meId: string | undefined): Chat.ChatSlots {
  const navigate = useNavigate();
  const { say } = useToast();
  const { data: models } = useQuery(modelsQuery);
  const saveWindow = useSaveWindow();
  const local = models?.find((model) => model.provider === "local");
  return useMemo(
    () => ({
      openChat: (chatId) => void navigate({ to: "/c/$chatId", params: { chatId } }),
      toDraft: (message, text) =>
        void createDraft({ message_id: message.id, content: text ?? null })
          .then((draft) => navigate({ to: "/d/$draftId", params: { draftId: draft.id } }))
          .catch((error) => say(wordsFor(error))),
      showToolCall: (part, inMessage) => <ToolCallCard part={part} messageId={inMessage} meId={meId} />,
      waitingLabel: (message) => (
        <WaitingWords
          message={message}
          modelWords={message.provider === "local" ? modelStateWords(local) : undefined}
        />
      ),
      modelOf: ({ provider, model_name }) => {
        const used = models?.find((model) =>
          provider ? model.provider === provider && model.model_name === model_name : model.is_default,
        );
        if (!used) return undefined;
        return { ...used, saveWindow: used.provider === "local" ? undefined : saveWindow };
      },
      modelsDialog: (dialog) => <ModelsDialog {...dialog} />,
    }),
    [navigate, say, meId, local, models, saveWindow],
  );
}

const READ_EACH_MS = 2000;

/** How far the user has read the channel, if the chat is one, and who can be named in it. */
function useChannel(chatId: string) {
  const client = useQueryClient();
  const { data: chat } = useQuery(chatQuery(chatId));
  const { data: channels } = useQuery({ ...channelsQuery, enabled: chat?.kind === "channel" });
  const channel = channels?.find((item) => item.chat_id === chatId);
  const { data: members } = useQuery({
    ...mentionablesQuery(channel?.project_id ?? ""),
    enabled: channel !== undefined,
  });
  const id = channel?.id;
  const lastReadId = channel?.last_read_id;
  const markRead = useMemo(() => {
    if (!id) return undefined;
    let newestId = "";
    const tell = throttled(
      READ_EACH_MS,
      () =>
        void readChannel(id, newestId)
          .then((read) => placeChannel(client, read))
          .catch(() => {
            newestId = ""; // unread the next time, which loses nothing
          }),
    );
    return (messageId: string) => {
      const known = client.getQueryData(channelsQuery.queryKey)?.find((item) => item.id === id);
      if (messageId <= newestId || messageId <= (known?.last_read_id ?? "")) return;
      newestId = messageId;
      tell();
    };
  }, [client, id]);
  const people = useMemo(() => [...(members ?? []), EVERYONE], [members]);
  return useMemo(
    () => (markRead && lastReadId ? { lastReadId, markRead, people } : undefined),
    [markRead, lastReadId, people],
  );
}

const EVERYONE = { username: "channel", name: "Everyone" };

const icon = { size: 18, strokeWidth: 1.5, "aria-hidden": true } as const;

function FindButton() {
  const navigate = useNavigate();
  const { chat } = Chat.useChat();
  return (
    <IconButton
      label="Find in this chat"
      onClick={() => void navigate({ to: "/search", search: { chat: chat.id } })}
    >
      <Search {...icon} />
    </IconButton>
  );
}

/** The project that the chat is in; its owner can move it. */
function ProjectButton() {
  const client = useQueryClient();
  const { chat, isOwn } = Chat.useChat();
  const navigate = useNavigate();
  const [isMoving, setMoving] = useState(false);
  const { data: projects = [] } = useQuery(projectsQuery());
  const project = projects.find(({ id }) => id === chat.project_id);
  if (chat.kind === "draft" || (!project && (!isOwn || projects.length === 0))) return null;
  const label = project ? `In ${project.name}` : "Move to a project";
  const canMove = isOwn && chat.kind === "direct";
  return (
    <>
      <IconButton
        label={label}
        onClick={() =>
          canMove
            ? setMoving(true)
            : project && void navigate({ to: "/p/$projectId", params: { projectId: project.id } })
        }
      >
        {project ? <FolderOpen {...icon} /> : <FolderInput {...icon} />}
      </IconButton>
      {isMoving && (
        <MoveDialog
          chat={chat}
          onMoved={(moved) => client.setQueryData(chatQuery(chat.id).queryKey, moved)}
          onClose={() => setMoving(false)}
        />
      )}
    </>
  );
}

function ShareButton() {
  const { chat, isOwn } = Chat.useChat();
  const [isOpen, setOpen] = useState(false);
  if (!chat.permissions.can_share || chat.kind !== "direct") return null;
  return (
    <>
      <IconButton label="Share" onClick={() => setOpen(true)}>
        <Share2 {...icon} />
      </IconButton>
      {isOpen && (
        <ShareDialog
          thing={{ kind: "chats", id: chat.id }}
          title="Share this chat"
          linkShows="It shows the branch on show, and no cost or instructions."
          onClose={() => setOpen(false)}
        >
          {isOwn && <PublicChoice chat={chat} />}
        </ShareDialog>
      )}
    </>
  );
}

function Attached() {
  const { chat, canWrite } = Chat.useChat();
  return canWrite ? <AttachedDrafts chatId={chat.id} /> : null;
}

function ChatModel() {
  const { chat, isOwn, save } = Chat.useChat();
  if (!isOwn) return null;
  const { provider, model_name } = chat;
  return (
    <ModelPicker
      value={provider && model_name ? { provider, model_name } : undefined}
      onChoose={(provider, model_name) => void save({ provider, model_name })}
    />
  );
}

/** The model of the chat, or the default. */
function useModel() {
  const { chat } = Chat.useChat();
  const { data: models = [] } = useQuery(modelsQuery);
  return (
    models.find((item) => item.provider === chat.provider && item.model_name === chat.model_name) ??
    models.find((item) => item.is_default)
  );
}

/** How the model answers: how long it thinks, and whether it searches the web and makes pictures. */
function ReplyChoices() {
  const { chat, isOwn, save } = Chat.useChat();
  const model = useModel();
  if (!isOwn) return null;
  return (
    <>
      <EffortChoice
        model={model}
        value={chat.settings.reasoning_effort}
        onChoose={(reasoning_effort) => void save({ settings: { reasoning_effort } })}
      />
      <SearchSwitch
        model={model}
        isOn={chat.settings.web_search === true}
        onToggle={(web_search) => void save({ settings: { web_search } })}
      />
      <PicturesSwitch
        model={model}
        isOn={chat.settings.make_pictures === true}
        onToggle={(make_pictures) => void save({ settings: { make_pictures } })}
      />
    </>
  );
}

function Tools() {
  const { chat, isOwn, save } = Chat.useChat();
  const model = useModel();
  if (!isOwn) return null;
  return (
    <ToolsChoice
      chatId={chat.id}
      modelTakesTools={model?.capabilities.tools ?? null}
      chosen={chat.settings.tools ?? []}
      onChoose={(tools) => save({ settings: { tools } })}
    />
  );
}
