import { useQueryClient } from "@tanstack/react-query";
import { wordsFor } from "@/api/words";
import { useToast } from "@/ui/toast";
import { placeChat } from "../cache";
import { type Chat, updateChat } from "../queries";

/** Whether every user who knows the address of a chat may read it. */
export function PublicChoice({ chat }: { chat: Chat }) {
  const client = useQueryClient();
  const { say } = useToast();
  const choose = async (isPublic: boolean) => {
    try {
      placeChat(client, await updateChat(chat.id, { visibility: isPublic ? "public" : "private" }));
    } catch (error) {
      say(wordsFor(error));
    }
  };
  return (
    <label className="flex items-start gap-3 border-hairline border-t pt-4">
      <input
        type="checkbox"
        className="mt-1 size-4 accent-(--color-accent)"
        checked={chat.visibility === "public"}
        onChange={(event) => void choose(event.target.checked)}
      />
      <span>
        <span className="block font-medium">Public</span>
        <span className="block text-sm text-text-muted">
          Everybody who knows the address may read. It is listed nowhere:{" "}
          <span className="break-all">{`${location.origin}/shared/${chat.id}`}</span>
        </span>
      </span>
    </label>
  );
}
