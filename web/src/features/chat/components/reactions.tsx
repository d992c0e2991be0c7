import { SmilePlus } from "lucide-react";
import { IconButton } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { Menu } from "@/ui/menu";
import type { Message } from "../reducer";

const OFFERED = [
  ["👍", "Thumbs up"],
  ["👎", "Thumbs down"],
  ["❤️", "Heart"],
  ["😄", "Laughing"],
  ["🎉", "Celebration"],
  ["🤔", "Thinking"],
  ["👀", "Eyes"],
  ["🚀", "Rocket"],
] as const;

type Props = { message: Message; meId: string | undefined; onReact: (emoji: string, isOn: boolean) => void };

/** The reactions to a message. A click adds or removes the user's own. */
export function Reactions({ message, meId, onReact }: Props) {
  if (message.reactions.length === 0) return null;
  return (
    <ul aria-label="Reactions" className="flex flex-wrap gap-1">
      {message.reactions.map(({ emoji, user_ids }) => {
        const isMine = meId !== undefined && user_ids.includes(meId);
        return (
          <li key={emoji}>
            <button
              type="button"
              aria-pressed={isMine}
              aria-label={`${emoji}, ${user_ids.length}`}
              onClick={() => onReact(emoji, !isMine)}
              className={cx(
                "inline-flex min-h-7 items-center gap-1 rounded-full border px-2 text-sm tabular-nums pointer-coarse:min-h-9",
                isMine ? "border-accent bg-accent-quiet" : "border-hairline hover:bg-surface-hover",
              )}
            >
              <span aria-hidden>{emoji}</span>
              {user_ids.length}
            </button>
          </li>
        );
      })}
    </ul>
  );
}

export function ReactButton({ onReact }: { onReact: (emoji: string) => void }) {
  return (
    <Menu
      trigger={
        <IconButton label="React">
          <SmilePlus size={16} strokeWidth={1.5} aria-hidden />
        </IconButton>
      }
      entries={OFFERED.map(([emoji, label]) => ({
        label,
        icon: <span aria-hidden>{emoji}</span>,
        onChoose: () => onReact(emoji),
      }))}
    />
  );
}
