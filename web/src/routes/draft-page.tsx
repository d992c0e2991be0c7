import { useQuery, useSuspenseQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useCallback, useMemo, useState } from "react";
import { cancelRun, Markdown, ReplyText } from "@/features/chat";
import { DraftChats, DraftView, draftChatsQuery, draftQuery } from "@/features/drafts";
import { ModelPicker } from "@/features/models";
import { ShareDialog } from "@/features/sharing";
import { MenuButton } from "@/ui/menu-button";
import { Empty } from "@/ui/states";
import { ChatPage } from "./chat-page";

export function DraftPage({ draftId }: { draftId: string }) {
  const navigate = useNavigate();
  const { data: chats } = useSuspenseQuery(draftChatsQuery(draftId));
  const [choice, setChoice] = useState<{ provider: string; model_name: string }>();
  const leave = useCallback(() => void navigate({ to: "/drafts" }), [navigate]);
  const { data: draft } = useQuery({ ...draftQuery(draftId), enabled: false }); // the view loads it
  const canWrite = draft?.permissions.can_write ?? false;
  const [chosen, setChosen] = useState(chats.items[0]?.id); // a new chat of another user does not replace it
  const chatId = chats.items.some((item) => item.id === chosen) ? chosen : chats.items[0]?.id;
  const chat = useMemo(() => {
    const menu = (
      <DraftChats draftId={draftId} chats={chats.items} canWrite={canWrite} onChoose={setChosen} />
    );
    return chatId ? (
      <ChatPage key={chatId} chatId={chatId} draftId={draftId} chatsOfDraft={menu} />
    ) : (
      <div className="flex flex-1 flex-col">
        <div className="p-2">{menu}</div>
        <Empty level={2} title="No chat">
          The chats about this draft are in the trash.
        </Empty>
      </div>
    );
  }, [chatId, draftId, chats.items, canWrite]);
  return (
    <DraftView
      draftId={draftId}
      menuButton={<MenuButton />}
      chat={chat}
      chatId={chatId}
      shareDialog={(close) => (
        <ShareDialog
          thing={{ kind: "drafts", id: draftId }}
          title="Share this draft"
          linkShows="It shows the text as it is now and the newest chat about it, and no versions or costs."
          onClose={close}
        />
      )}
      markdown={(text) => <Markdown text={text} />}
      choice={choice}
      modelChoice={
        <ModelPicker
          value={choice}
          onChoose={(provider, model_name) => setChoice({ provider, model_name })}
        />
      }
      stopRun={(runId) => void cancelRun(runId)}
      replyText={(runId, onText) => <ReplyText runId={runId} onText={onText} />}
      onGone={leave}
    />
  );
}
