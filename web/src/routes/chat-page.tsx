import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useCallback } from "react";
import { ChatView, WaitingWords } from "@/features/chat";
import { ModelChoice, ModelsDialog, modelStateWords, modelsQuery } from "@/features/models";
import { MenuButton } from "@/ui/menu-button";
import { ModelNotice } from "./model-notice";

export function ChatPage({ chatId, messageId }: { chatId: string; messageId?: string }) {
  const { data: models = [] } = useQuery(modelsQuery);
  const navigate = useNavigate();
  const openChat = useCallback(
    (opened: string) => void navigate({ to: "/c/$chatId", params: { chatId: opened } }),
    [navigate],
  );
  const local = models.find((model) => model.provider === "local");
  return (
    <ChatView
      key={chatId}
      chatId={chatId}
      targetId={messageId}
      menuButton={<MenuButton />}
      notice={<ModelNotice />}
      openChat={openChat}
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
