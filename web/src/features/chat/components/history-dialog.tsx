import { useQuery } from "@tanstack/react-query";
import { wordsFor } from "@/api/words";
import { exactTime } from "@/lib/dates";
import { Dialog } from "@/ui/dialog";
import { Failed, Lines } from "@/ui/states";
import { getHistory } from "../queries";
import type { Message } from "../reducer";

/** Earlier versions of a message's text, newest first. */
export function HistoryDialog({ message, onClose }: { message: Message; onClose: () => void }) {
  const { data, error, refetch } = useQuery({
    queryKey: ["history", message.id, message.updated_at],
    queryFn: () => getHistory(message.id),
  });
  return (
    <Dialog title="Earlier wordings" isOpen onClose={onClose}>
      {error ? (
        <Failed words={wordsFor(error)} onRetry={() => void refetch()} />
      ) : data ? (
        <ol className="flex flex-col gap-4">
          {data.edit_history.toReversed().map((edit) => (
            <li key={edit.timestamp} className="flex flex-col gap-1">
              <p className="text-sm text-text-muted">Until {exactTime(edit.timestamp)}</p>
              <p className="whitespace-pre-wrap rounded-card bg-surface-quiet px-3 py-2">
                {edit.previous_content}
              </p>
            </li>
          ))}
        </ol>
      ) : (
        <Lines widths={["w-full", "w-2/3"]} />
      )}
    </Dialog>
  );
}
