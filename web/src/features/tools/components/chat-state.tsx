import { useQuery } from "@tanstack/react-query";
import { relativeTime } from "@/lib/dates";
import { stateQuery } from "../queries";
import { Arguments } from "./values";

/** The current state that tools keep for a chat. Renders nothing if there is none. */
export function ChatState({ chatId }: { chatId: string }) {
  const { data } = useQuery(stateQuery(chatId));
  if (!data?.updated_at || Object.keys(data.state).length === 0) return null;
  return (
    <section
      aria-label="State of the chat"
      className="mb-4 flex flex-col gap-2 border-hairline border-b pb-4"
    >
      <h3 className="font-semibold">
        Kept of this task{" "}
        <span className="font-normal text-sm text-text-muted">{relativeTime(data.updated_at)}</span>
      </h3>
      <Arguments json={JSON.stringify(data.state)} />
    </section>
  );
}
