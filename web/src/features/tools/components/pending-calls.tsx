import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { wordsFor } from "@/api/words";
import { Empty, Failed, Lines } from "@/ui/states";
import { pendingQuery } from "../queries";
import { CallCard } from "./tool-card";

type Props = { meId: string | undefined; chatLink: (chatId: string, title: string) => ReactNode };

/** All calls of all chats that await the user's decision. */
export function PendingCalls({ meId, chatLink }: Props) {
  const waiting = useQuery(pendingQuery);
  if (waiting.error) return <Failed words={wordsFor(waiting.error)} onRetry={() => void waiting.refetch()} />;
  if (!waiting.data) return <Lines widths={["w-full", "w-full", "w-2/3"]} />;
  if (waiting.data.length === 0)
    return (
      <Empty level={2} title="Nothing waits for you">
        When a model asks for a tool that your rules do not let run by itself, you decide about it here or in
        its chat.
      </Empty>
    );
  return (
    <ul aria-label="Waiting calls, the oldest first" className="flex flex-col gap-3">
      {waiting.data.map((call) => (
        <li key={call.id}>
          <CallCard call={call} meId={meId} chatLink={chatLink(call.chat_id, call.chat_title)} />
        </li>
      ))}
    </ul>
  );
}
