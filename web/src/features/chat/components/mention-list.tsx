import { cx } from "@/ui/class-names";
import type { Mentionable } from "../hooks/use-mention";

export const mentionId = (listId: string, place: number) => `${listId}-${place}`;

/** The people who can be named at the caret. The keys of the message box choose among them. */
export function MentionList({
  id,
  matches,
  chosen,
  onPick,
}: {
  id: string;
  matches: readonly Mentionable[];
  chosen: number;
  onPick: (person: Mentionable) => void;
}) {
  if (matches.length === 0) return null;
  return (
    <div
      id={id}
      role="listbox"
      aria-label="People to mention"
      className="mb-1 max-w-sm rounded-card border border-hairline bg-surface-raised p-1 shadow-float"
    >
      {matches.map((person, place) => (
        // biome-ignore lint/a11y/useKeyWithClickEvents: the keys are those of the message box
        // biome-ignore lint/a11y/useFocusableInteractive: the message box keeps the focus
        <div
          key={person.username}
          id={mentionId(id, place)}
          role="option"
          aria-selected={place === chosen}
          className={cx(
            "flex min-h-9 cursor-default items-center gap-2 rounded-control px-2 py-1 pointer-coarse:min-h-11",
            place === chosen ? "bg-surface-hover" : "hover:bg-surface-hover",
          )}
          onMouseDown={(event) => event.preventDefault()}
          onClick={() => onPick(person)}
        >
          <span className="font-medium">{person.name}</span>
          <span className="truncate text-sm text-text-muted">@{person.username}</span>
        </div>
      ))}
    </div>
  );
}
