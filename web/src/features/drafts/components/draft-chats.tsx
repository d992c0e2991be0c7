import { useQueryClient } from "@tanstack/react-query";
import { MessagesSquare } from "lucide-react";
import type { Schemas } from "@/api/client";
import { wordsFor } from "@/api/words";
import { relativeTime } from "@/lib/dates";
import { IconButton } from "@/ui/button";
import { Menu } from "@/ui/menu";
import { useToast } from "@/ui/toast";
import { addDraftChat, draftChatsQuery } from "../queries";

type Props = {
  draftId: string;
  chats: Schemas["ChatRead"][];
  canWrite: boolean;
  onChoose: (chatId: string) => void;
};

/** The chats about a draft, and a button for a new one. */
export function DraftChats({ draftId, chats, canWrite, onChoose }: Props) {
  const client = useQueryClient();
  const { say } = useToast();
  const begin = async () => {
    try {
      const chat = await addDraftChat(draftId);
      await client.invalidateQueries(draftChatsQuery(draftId));
      onChoose(chat.id);
    } catch (error) {
      say(wordsFor(error));
    }
  };
  const entries = chats.map((chat) => ({
    key: chat.id,
    label: `${chat.title} · ${relativeTime(chat.last_message_at)}`,
    onChoose: () => onChoose(chat.id),
  }));
  if (canWrite)
    entries.unshift({ key: "new", label: "New chat about this draft", onChoose: () => void begin() });
  return (
    <Menu
      trigger={
        <IconButton label="Chats about this draft">
          <MessagesSquare size={18} strokeWidth={1.5} aria-hidden />
        </IconButton>
      }
      entries={entries}
    />
  );
}
