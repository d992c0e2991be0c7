import { useSuspenseQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useCallback, useMemo, useState } from "react";
import { cancelRun, Markdown } from "@/features/chat";
import { DraftView, draftChatsQuery } from "@/features/drafts";
import { ModelChoice } from "@/features/models";
import { MenuButton } from "@/ui/menu-button";
import { Empty } from "@/ui/states";
import { ChatPage } from "./chat-page";

export function DraftPage({ draftId }: { draftId: string }) {
  const navigate = useNavigate();
  const { data: chats } = useSuspenseQuery(draftChatsQuery(draftId));
  const [choice, setChoice] = useState<{ provider: string; model_name: string }>();
  const leave = useCallback(() => void navigate({ to: "/drafts" }), [navigate]);
  const chatId = chats.items[0]?.id;
  const chat = useMemo(
    () =>
      chatId ? (
        <ChatPage chatId={chatId} isBesideDraft />
      ) : (
        <Empty level={2} title="No chat">
          The chat about this draft is in the trash.
        </Empty>
      ),
    [chatId],
  );
  return (
    <DraftView
      draftId={draftId}
      menuButton={<MenuButton />}
      chat={chat}
      markdown={(text) => <Markdown text={text} />}
      choice={choice}
      modelChoice={
        <ModelChoice
          value={choice}
          onChoose={(provider, model_name) => setChoice({ provider, model_name })}
        />
      }
      stopRun={(runId) => void cancelRun(runId)}
      onGone={leave}
    />
  );
}
