import { useQuery } from "@tanstack/react-query";
import { ChatView, WaitingWords } from "@/features/chat";
import { ModelChoice, modelStateWords, modelsQuery } from "@/features/models";
import { MenuButton } from "@/ui/menu-button";
import { ModelNotice } from "./model-notice";

export function ChatPage({ chatId }: { chatId: string }) {
  const { data: models = [] } = useQuery(modelsQuery);
  const local = models.find((model) => model.provider === "local");
  return (
    <ChatView
      key={chatId}
      chatId={chatId}
      menuButton={<MenuButton />}
      notice={<ModelNotice />}
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
