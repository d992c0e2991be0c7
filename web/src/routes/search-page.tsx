import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useCallback } from "react";
import { chatQuery } from "@/features/chat";
import { SearchView } from "@/features/search";
import { Page } from "./page";

export function SearchPage({ typed, chatId }: { typed: string; chatId: string | undefined }) {
  const navigate = useNavigate();
  const { data: chat } = useQuery({ ...chatQuery(chatId ?? ""), enabled: chatId !== undefined });
  const show = useCallback(
    (q: string, within: string | undefined) =>
      void navigate({
        to: "/search",
        search: { ...(q ? { q } : {}), ...(within ? { chat: within } : {}) },
        replace: true,
      }),
    [navigate],
  );
  const type = useCallback((q: string) => show(q, chatId), [show, chatId]);
  return (
    <Page title={chatId ? "Find in this chat" : "Search"}>
      <SearchView
        typed={typed}
        chat={chatId ? { id: chatId, title: chat?.title ?? "this chat" } : undefined}
        onType={type}
        onLeaveChat={() => show(typed, undefined)}
      />
    </Page>
  );
}
