import { useQuery } from "@tanstack/react-query";
import { cx } from "@/ui/class-names";
import { tagsQuery } from "../tags";
import { Dot } from "./tag-dialog";

type Props = { chosen: string | undefined; onChoose: (tagId: string | undefined) => void };

/** Filter chats by a tag. Hidden while there are no tags. */
export function TagFilter({ chosen, onChoose }: Props) {
  const { data: tags = [] } = useQuery(tagsQuery);
  if (tags.length === 0) return null;
  return (
    <fieldset className="flex max-h-24 min-w-0 flex-wrap gap-1 overflow-y-auto px-1 pb-2">
      <legend className="sr-only">Only chats with a tag</legend>
      {tags.map((tag) => {
        const isOn = tag.id === chosen;
        return (
          <button
            key={tag.id}
            type="button"
            aria-pressed={isOn}
            onClick={() => onChoose(isOn ? undefined : tag.id)}
            className={cx(
              "flex min-h-7 max-w-full items-center gap-1.5 rounded-full border px-2 text-sm pointer-coarse:min-h-10",
              isOn ? "border-accent bg-accent-quiet" : "border-hairline hover:bg-surface-hover",
            )}
          >
            <Dot colour={tag.colour} />
            <span className="min-w-0 truncate">{tag.name}</span>
          </button>
        );
      })}
    </fieldset>
  );
}
