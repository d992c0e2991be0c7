import { useCallback, useEffect, useRef, useState } from "react";
import { useRealtime } from "@/realtime/provider";
import { tellPresence } from "../shares";

const AGAIN_MS = 15_000;
const GONE_MS = 32_000;
const TYPING_MS = 4000;
type Present = { id: string; name: string; isTyping: boolean; heardAt: number };

/** Send and receive who has a shared chat open and who is typing. */
export function usePresence(chatId: string, meId: string | undefined, isShared: boolean) {
  const realtime = useRealtime();
  const [others, setOthers] = useState<Present[]>([]);
  const typedAt = useRef(0);
  const toldAt = useRef(0);
  useEffect(() => {
    setOthers([]);
    if (!isShared || !meId) return;
    const tell = (is_leaving = false) => {
      toldAt.current = Date.now();
      // A lost message does not matter: presence is sent again soon.
      void tellPresence(chatId, {
        is_typing: !is_leaving && Date.now() - typedAt.current < TYPING_MS,
        is_leaving,
      }).catch(() => undefined);
    };
    const leave = realtime.listen((message) => {
      if (message.tell !== "presence" || message.presence.chat_id !== chatId) return;
      const { user, is_typing, is_leaving } = message.presence;
      if (user.id === meId) return;
      setOthers((before) => {
        // A new participant does not know about us yet.
        if (!is_leaving && !before.some((item) => item.id === user.id)) tell();
        const rest = before.filter((item) => item.id !== user.id);
        return is_leaving ? rest : [...rest, { ...user, isTyping: is_typing, heardAt: Date.now() }];
      });
    });
    tell();
    const timer = setInterval(() => {
      if (!document.hidden && Date.now() - toldAt.current >= AGAIN_MS) tell();
      setOthers((before) => {
        const now = Date.now();
        const still = before.filter((item) => now - item.heardAt < GONE_MS);
        return still.length === before.length &&
          !still.some((item) => item.isTyping && now - item.heardAt > TYPING_MS)
          ? before
          : still.map((item) => ({ ...item, isTyping: item.isTyping && now - item.heardAt <= TYPING_MS }));
      });
    }, 1000);
    const onHide = () => tell(document.hidden);
    document.addEventListener("visibilitychange", onHide);
    return () => {
      leave();
      clearInterval(timer);
      document.removeEventListener("visibilitychange", onHide);
      tell(true);
    };
  }, [chatId, meId, isShared, realtime]);
  const onTyping = useCallback(() => {
    const now = Date.now();
    const wasTyping = now - typedAt.current < TYPING_MS;
    typedAt.current = now;
    if (!isShared || (wasTyping && now - toldAt.current < TYPING_MS / 2)) return;
    toldAt.current = now;
    void tellPresence(chatId, { is_typing: true, is_leaving: false }).catch(() => undefined);
  }, [chatId, isShared]);
  return { others, onTyping };
}
