import { useQueryClient } from "@tanstack/react-query";
import { useCallback, useMemo, useRef, useState } from "react";
import { wordsFor } from "@/api/words";
import { useToast } from "@/ui/toast";
import type { Pending } from "../components/message-list";
import type { MessageActions } from "../components/message-row";
import {
  continueMessage,
  deleteMessage,
  editMessage,
  forkChat,
  newestShown,
  ownLeaf,
  placeChat,
  placeSent,
  regenerateMessage,
  removeMessage,
  restoreMessage,
  type Sent,
  sendMessage,
  setHead,
  showBranch,
  type WantedModel,
} from "../queries";

/** What one can do in a chat; each answer of the server goes straight into what is loaded. */
export function useChatActions(chatId: string, openChat: (chatId: string) => void): MessageActions {
  const client = useQueryClient();
  const { say, offerUndo } = useToast();
  return useMemo(() => {
    const refresh = () => client.invalidateQueries({ queryKey: ["messages", chatId] });
    const start = (work: Promise<Sent>) => {
      work.then((sent) => placeSent(client, sent)).catch((error) => say(wordsFor(error)));
    };
    return {
      edit: async (message, content) =>
        placeSent(client, await editMessage(message.id, content, crypto.randomUUID())),
      regenerate: (message, models) => start(regenerateMessage(message.id, models)),
      continueReply: (message) => start(continueMessage(message.id)),
      showSibling: (messageId) => {
        setHead(chatId, messageId)
          .then((chat) => {
            placeChat(client, chat);
            return showBranch(client, chatId, messageId);
          })
          .catch((error) => say(wordsFor(error)));
      },
      fork: (message) => {
        forkChat(message.id)
          .then((chat) => {
            placeChat(client, chat);
            openChat(chat.id);
          })
          .catch((error) => say(wordsFor(error)));
      },
      remove: (message) => {
        const restore = () =>
          restoreMessage(message.id)
            .then(() => showBranch(client, chatId, message.id))
            .catch((error) => say(wordsFor(error)));
        removeMessage(client, message);
        deleteMessage(message.id)
          .then(async () => {
            offerUndo("Deleted.", () => void restore());
            const other = message.sibling_ids.findLast((id) => id !== message.id);
            // At the end of a branch, another version comes into its place.
            if (other && newestShown(client, chatId) === message.previous_message_id)
              await showBranch(client, chatId, other);
          })
          .catch((error) => {
            say(wordsFor(error));
            void refresh();
          });
      },
    };
  }, [chatId, client, say, offerUndo, openChat]);
}

/** Sending: shown at once, stored by the server before it counts, and given back to the box when it fails. */
export function useSending(chatId: string) {
  const client = useQueryClient();
  const [pending, setPending] = useState<Pending[]>([]);
  const [problem, setProblem] = useState<string>();
  const before = useRef<Promise<unknown>>(Promise.resolve()); // each waits for the one before it, and follows it
  const send = useCallback(
    async (content: string, models?: WantedModel[]) => {
      const key = crypto.randomUUID();
      setProblem(undefined);
      setPending((waiting) => [...waiting, { key, content }]);
      const turn = before.current.then(async () => {
        const previous_message_id = ownLeaf(client, chatId);
        const sent = await sendMessage(chatId, content, key, { models, previous_message_id });
        placeSent(client, sent);
        return sent;
      });
      before.current = turn.catch(() => undefined);
      try {
        return await turn;
      } catch (error) {
        setProblem(wordsFor(error));
        throw error;
      } finally {
        setPending((waiting) => waiting.filter((item) => item.key !== key));
      }
    },
    [chatId, client],
  );
  return { pending, problem, send };
}
