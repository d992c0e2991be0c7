import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type ReactNode, useCallback } from "react";
import { wordsFor } from "@/api/words";
import { meQuery } from "@/features/accounts";
import { ChatView, chatQuery, PublicChoice, type ShowToolCall, WaitingWords } from "@/features/chat";
import { AttachDraft, AttachedDrafts, createDraft } from "@/features/drafts";
import { ModelChoice, ModelsDialog, modelStateWords, modelsQuery } from "@/features/models";
import { ShareDialog, sharesQuery } from "@/features/sharing";
import { ChatState, pendingQuery, ToolCallCard, ToolsChoice } from "@/features/tools";
import { MenuButton } from "@/ui/menu-button";
import { useToast } from "@/ui/toast";
import { ModelNotice } from "./model-notice";

type Props = {
  chatId: string;
  messageId?: string;
  draftId?: string; // that the chat is about
  chatsOfDraft?: ReactNode; // given beside a draft, in place of the menu of the page
};

export function ChatPage({ chatId, messageId, draftId, chatsOfDraft }: Props) {
  const { data: chat } = useQuery(chatQuery(chatId));
  const { data: shares = [] } = useQuery({
    ...sharesQuery(draftId ? { kind: "drafts", id: draftId } : { kind: "chats", id: chatId }),
    enabled: chat?.owner === null,
  });
  const { data: models = [] } = useQuery(modelsQuery);
  const { data: me } = useQuery(meQuery);
  const navigate = useNavigate();
  const { say } = useToast();
  const openChat = useCallback(
    (opened: string) => void navigate({ to: "/c/$chatId", params: { chatId: opened } }),
    [navigate],
  );
  const findIn = useCallback(
    (within: string) => void navigate({ to: "/search", search: { chat: within } }),
    [navigate],
  );
  const toDraft = useCallback(
    (message: { id: string }, words?: string) =>
      void createDraft({ message_id: message.id, content: words ?? null })
        .then((draft) => navigate({ to: "/d/$draftId", params: { draftId: draft.id } }))
        .catch((error) => say(wordsFor(error))),
    [navigate, say],
  );
  const { data: waiting = [] } = useQuery(pendingQuery);
  const showToolCall = useCallback<ShowToolCall>(
    (part, inMessage) => <ToolCallCard part={part} messageId={inMessage} meId={me?.id} />,
    [me?.id],
  );
  const model =
    models.find((one) => one.provider === chat?.provider && one.model_name === chat?.model_name) ??
    models.find((one) => one.is_default);
  const takesTools = model?.capabilities.tools ?? null;
  const local = models.find((model) => model.provider === "local");
  return (
    <ChatView
      key={chatId}
      chatId={chatId}
      targetId={messageId}
      menuButton={chatsOfDraft ?? <MenuButton />}
      notice={<ModelNotice />}
      openChat={openChat}
      findIn={findIn}
      toDraft={toDraft}
      meId={me?.id}
      isShared={shares.some((share) => share.shared_with !== null)}
      shareDialog={(chat, close) => (
        <ShareDialog
          thing={{ kind: "chats", id: chat.id }}
          title="Share this chat"
          linkShows="It shows the branch on show, and no cost or instructions."
          onClose={close}
        >
          {chat.owner === null && <PublicChoice chat={chat} />}
        </ShareDialog>
      )}
      showToolCall={showToolCall}
      toolsChoice={(chosen, choose) => (
        <ToolsChoice chatId={chatId} modelTakesTools={takesTools} chosen={chosen} onChoose={choose} />
      )}
      chatState={<ChatState chatId={chatId} />}
      needsApproval={waiting.some((call) => call.chat_id === chatId)}
      aboveComposer={chatsOfDraft === undefined && <AttachedDrafts chatId={chatId} />}
      inComposer={chatsOfDraft === undefined && <AttachDraft chatId={chatId} />}
      modelsDialog={(dialog) => <ModelsDialog {...dialog} />}
      waitingWords={(message) => (
        <WaitingWords
          message={message}
          modelWords={message.provider === "local" ? modelStateWords(local) : undefined}
        />
      )}
      modelChoice={(chat, choose) => (
        <ModelChoice
          value={
            chat.provider && chat.model_name
              ? { provider: chat.provider, model_name: chat.model_name }
              : undefined
          }
          onChoose={choose}
        />
      )}
    />
  );
}
