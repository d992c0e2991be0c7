import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useCallback } from "react";
import { wordsFor } from "@/api/words";
import { meQuery } from "@/features/accounts";
import { ChatView, WaitingWords } from "@/features/chat";
import { createDraft } from "@/features/drafts";
import { ModelChoice, ModelsDialog, modelStateWords, modelsQuery } from "@/features/models";
import { MenuButton } from "@/ui/menu-button";
import { useToast } from "@/ui/toast";
import { ModelNotice } from "./model-notice";

type Props = { chatId: string; messageId?: string; isBesideDraft?: boolean };

export function ChatPage({ chatId, messageId, isBesideDraft = false }: Props) {
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
    (message: { id: string }) =>
      void createDraft({ message_id: message.id })
        .then((draft) => navigate({ to: "/d/$draftId", params: { draftId: draft.id } }))
        .catch((error) => say(wordsFor(error))),
    [navigate, say],
  );
  const local = models.find((model) => model.provider === "local");
  return (
    <ChatView
      key={chatId}
      chatId={chatId}
      targetId={messageId}
      menuButton={isBesideDraft ? null : <MenuButton />}
      notice={<ModelNotice />}
      openChat={openChat}
      findIn={findIn}
      toDraft={toDraft}
      meId={me?.id}
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
