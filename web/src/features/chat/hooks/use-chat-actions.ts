import { useQueryClient } from "@tanstack/react-query";
import { useCallback, useMemo, useRef, useState } from "react";
import { ApiError, OfflineError } from "@/api/client";
import { wordsFor } from "@/api/words";
import { useToast } from "@/ui/toast";
import { isChannel, ownLeaf, placeChat, placeMessage, placeSent, removeMessage, showBranch } from "../cache";
import type { MessageActions } from "../components/message-actions";
import type { Pending } from "../components/message-list";
import {
  chatQuery,
  continueMessage,
  deleteMessage,
  editMessage,
  forkChat,
  type ModelRef,
  newestShown,
  react,
  regenerateMessage,
  restoreMessage,
  type Sent,
  sendMessage,
  setContextRule,
  setHead,
} from "../queries";

/** The actions of a chat. Answers of the server are placed into the cache. */
export function useChatActions(
  chatId: string,
  openChat: (chatId: string) => void,
  parentId?: string, // the parent of a thread
): MessageActions {
  const client = useQueryClient();
  const { say, offerUndo } = useToast();
  return useMemo(() => {
    const refresh = () =>
      client.invalidateQueries({ queryKey: parentId ? ["thread", parentId] : ["messages", chatId] });
    const start = (work: Promise<Sent>) => {
      work.then((sent) => placeSent(client, sent)).catch((error) => say(wordsFor(error)));
    };
    return {
      edit: async (message, content, isInPlace) =>
        placeSent(client, await editMessage(message, content, crypto.randomUUID(), isInPlace)),
      react: (message, emoji, isOn) => {
        react(message.id, emoji, isOn)
          .then((changed) => placeMessage(client, changed))
          .catch((error) => say(wordsFor(error)));
      },
      setRule: (message, rule) => {
        setContextRule(message.id, rule)
          .then((changed) => placeMessage(client, changed))
          .catch((error) => say(wordsFor(error)));
      },
      regenerate: (message, models, options) => start(regenerateMessage(message.id, models, options)),
      continueReply: (message) => start(continueMessage(message.id)),
      showSibling: (messageId) => {
        // The owner also moves the chat's head. In a thread or another user's chat only the view changes.
        const isOwner = client.getQueryData(chatQuery(chatId).queryKey)?.owner === null;
        const moved = isOwner && !parentId ? setHead(chatId, messageId) : Promise.resolve(undefined);
        moved
          .then((chat) => {
            if (chat) placeChat(client, chat);
            return showBranch(client, chatId, messageId, parentId);
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
            .then(() =>
              isChannel(client, chatId) ? refresh() : showBranch(client, chatId, message.id, parentId),
            )
            .catch((error) => say(wordsFor(error)));
        removeMessage(client, message);
        deleteMessage(message.id)
          .then(async () => {
            offerUndo("Deleted.", () => void restore());
            const other = message.sibling_ids.findLast((id) => id !== message.id);
            // At the end of a branch, show another version instead.
            if (parentId) await refresh();
            else if (other && newestShown(client, chatId) === message.previous_message_id)
              await showBranch(client, chatId, other);
          })
          .catch((error) => {
            say(wordsFor(error));
            void refresh();
          });
      },
    };
  }, [chatId, client, say, offerUndo, openChat, parentId]);
}

/** Send messages: shown at once, confirmed when the server has stored them, and returned to the box on failure. */
export function useSending(chatId: string, parentId?: string) {
  const client = useQueryClient();
  const [pending, setPending] = useState<Pending[]>([]);
  const [error, setError] = useState<unknown>();
  const before = useRef<Promise<unknown>>(Promise.resolve()); // sends are sequential, and each message follows the previous one
  const send = useCallback(
    async (content: string, more: { models?: ModelRef[]; attachmentIds?: string[] } = {}) => {
      const key = crypto.randomUUID();
      const attachment_ids = more.attachmentIds?.length ? more.attachmentIds : undefined;
      setError(undefined);
      setPending((waiting) => [...waiting, { key, content, files: attachment_ids?.length ?? 0 }]);
      const waits = (isWaiting: boolean) =>
        setPending((waiting) => waiting.map((item) => (item.key === key ? { ...item, isWaiting } : item)));
      const turn = before.current.then(async () => {
        const sent = await onceConnected(
          () =>
            sendMessage(chatId, content, key, {
              models: more.models,
              previous_message_id:
                parentId || isChannel(client, chatId) ? undefined : ownLeaf(client, chatId),
              parent_message_id: parentId,
              attachment_ids,
            }),
          waits,
        );
        placeSent(client, sent);
        return sent;
      });
      before.current = turn.catch(() => undefined);
      try {
        return await turn;
      } catch (error) {
        setError(error);
        throw error;
      } finally {
        setPending((waiting) => waiting.filter((item) => item.key !== key));
      }
    },
    [chatId, client, parentId],
  );
  const problem = error === undefined ? undefined : wordsFor(error);
  const isAtLimit = error instanceof ApiError && error.code === "quota_reached";
  return { pending, problem, isAtLimit, send };
}

const TRY_AGAIN_MS = 3000;

/** Retry while offline. The idempotency key prevents duplicates. */
async function onceConnected<T>(ask: () => Promise<T>, waits: (isWaiting: boolean) => void): Promise<T> {
  for (;;) {
    try {
      const answer = await ask();
      waits(false);
      return answer;
    } catch (error) {
      if (!(error instanceof OfflineError)) throw error;
      waits(true);
      await new Promise<void>((resolve) => {
        const again = () => {
          clearTimeout(timer);
          removeEventListener("online", again);
          resolve();
        };
        const timer = setTimeout(again, TRY_AGAIN_MS);
        addEventListener("online", again);
      });
    }
  }
}
