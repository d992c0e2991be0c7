import { useQuery } from "@tanstack/react-query";
import { wordsFor } from "@/api/words";
import { relativeTime, wholeNumber } from "@/lib/dates";
import { cx } from "@/ui/class-names";
import { Dialog } from "@/ui/dialog";
import { Failed, Lines } from "@/ui/states";
import { treeQuery } from "../queries";

type Segment = { first: End; last: End; message_count: number; follows: number | null };
type End = {
  id: string;
  role: string;
  excerpt: string;
  model_name: string | null;
  created_at: string;
};
type Props = {
  chatId: string;
  shownIds: Set<string>;
  onShow: (messageId: string) => void;
  onClose: () => void;
};

const EXCERPT = 80; // the server's limit
const DEEPEST = 8; // levels of indentation that fit on a phone

/** All branches of a chat. Segments of the shown branch are marked, and a click shows another. */
export function TreeMap({ chatId, shownIds, onShow, onClose }: Props) {
  const { data, error, refetch } = useQuery(treeQuery(chatId));
  const segments = data?.segments ?? [];
  const depths: number[] = [];
  for (const segment of segments)
    depths.push(segment.follows === null ? 0 : (depths[segment.follows] ?? 0) + 1);
  return (
    <Dialog title="Map of the chat" isOpen onClose={onClose}>
      {error ? (
        <Failed words={wordsFor(error)} onRetry={() => void refetch()} />
      ) : !data ? (
        <Lines widths={["w-2/3", "w-1/2", "w-3/5"]} />
      ) : segments.length === 0 ? (
        <p className="text-text-muted">Nothing is said in this chat yet.</p>
      ) : (
        <ol aria-label="Branches" className="flex flex-col gap-1">
          {segments.map((segment, index) => (
            <Stretch
              key={segment.first.id}
              segment={segment}
              depth={Math.min(depths[index] ?? 0, DEEPEST)}
              isShown={shownIds.has(segment.first.id) || shownIds.has(segment.last.id)}
              onShow={() => {
                onShow(segment.last.id);
                onClose();
              }}
            />
          ))}
        </ol>
      )}
    </Dialog>
  );
}

function Stretch({
  segment,
  depth,
  isShown,
  onShow,
}: {
  segment: Segment;
  depth: number;
  isShown: boolean;
  onShow: () => void;
}) {
  const { first, last, message_count } = segment;
  const who = first.role === "user" ? "You" : (first.model_name ?? "Reply");
  const count = message_count === 1 ? "1 message" : `${wholeNumber(message_count)} messages`;
  return (
    <li style={{ paddingInlineStart: `${depth * 0.875}rem` }}>
      <button
        type="button"
        onClick={onShow}
        aria-current={isShown ? "true" : undefined}
        className={cx(
          "flex w-full flex-col gap-0.5 rounded-control border-l-2 px-3 py-2 text-left hover:bg-surface-hover",
          isShown ? "border-accent bg-accent-quiet" : "border-hairline-strong",
        )}
      >
        <span className="line-clamp-2 break-words">
          {first.excerpt.length < EXCERPT ? first.excerpt || "…" : `${first.excerpt}…`}
        </span>
        <span className="text-text-muted text-xs">
          {[who, count, relativeTime(last.created_at)].join(" · ")}
        </span>
      </button>
    </li>
  );
}
