import { useQueryClient } from "@tanstack/react-query";
import { useCallback, useMemo, useState } from "react";
import { wordsFor } from "@/api/words";
import { useToast } from "@/ui/toast";
import type { Pending } from "../components/message-list";
import type { MessageActions } from "../components/message-row";
import {
  continueMessage,
  editMessage,
  placeChat,
  placeSent,
  regenerateMessage,
  type Sent,
  sendMessage,
  setHead,
  showHead,
} from "../queries";

/** What one can do in a chat; each answer of the server goes straight into what is loaded. */
export function useChatActions(chatId: string): MessageActions {
  const client = useQueryClient();
  const { say } = useToast();
  return useMemo(() => {
    const start = (work: Promise<Sent>) => {
      work.then((sent) => placeSent(client, sent)).catch((error) => say(wordsFor(error)));
    };
    return {
      edit: async (message, content) =>
        placeSent(client, await editMessage(message.id, content, crypto.randomUUID())),
      regenerate: (message) => start(regenerateMessage(message.id)),
      continueReply: (message) => start(continueMessage(message.id)),
      showSibling: (messageId) => {
        setHead(chatId, messageId)
          .then((chat) => {
            placeChat(client, chat);
            return showHead(client, chat);
          })
          .catch((error) => say(wordsFor(error)));
      },
    };
  }, [chatId, client, say]);
}

/** Sending: shown at once, stored by the server before it counts, and given back to the box when it fails. */
export function useSending(chatId: string) {
  const client = useQueryClient();
  const [pending, setPending] = useState<Pending[]>([]);
  const [problem, setProblem] = useState<string>();
  const send = useCallback(
    async (content: string) => {
      const key = crypto.randomUUID();
      setProblem(undefined);
      setPending((waiting) => [...waiting, { key, content }]);
      try {
        placeSent(client, await sendMessage(chatId, content, key));
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
