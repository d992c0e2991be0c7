import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useCallback } from "react";
import { meQuery } from "@/features/accounts";
import { ChatView, WaitingWords } from "@/features/chat";
import { ModelChoice, ModelsDialog, modelStateWords, modelsQuery } from "@/features/models";
import { MenuButton } from "@/ui/menu-button";
import { ModelNotice } from "./model-notice";

type Props = { chatId: string; messageId?: string; isBesideDraft?: boolean };

export function ChatPage({ chatId, messageId, isBesideDraft = false }: Props) {
  const { data: models = [] } = useQuery(modelsQuery);
  const { data: me } = useQuery(meQuery);
  const navigate = useNavigate();
  const openChat = useCallback(
    (opened: string) => void navigate({ to: "/c/$chatId", params: { chatId: opened } }),
    [navigate],
  );
  const findIn = useCallback(
    (within: string) => void navigate({ to: "/search", search: { chat: within } }),
    [navigate],
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
