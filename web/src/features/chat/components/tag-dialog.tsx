import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Combine, MoreHorizontal, Pencil, Plus, Trash2 } from "lucide-react";
import { type FormEvent, useState } from "react";
import { wordsFor } from "@/api/words";
import { Button, IconButton } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { Dialog } from "@/ui/dialog";
import { Menu, type MenuEntry } from "@/ui/menu";
import { Problem } from "@/ui/problem";
import { Failed, Lines } from "@/ui/states";
import { Tick } from "@/ui/tick";
import { useToast } from "@/ui/toast";
import { placeChat } from "../cache";
import type { Chat } from "../queries";
import {
  COLOURS,
  type Colour,
  createTag,
  DOTS,
  deleteTag,
  mergeTag,
  restoreTag,
  type Tag,
  tagChat,
  tagsQuery,
  updateTag,
} from "../tags";

/** The tags of a chat, and all tags of the user. */
export function TagDialog({ chat, onClose }: { chat: Chat; onClose: () => void }) {
  const client = useQueryClient();
  const { data: tags, error, refetch } = useQuery(tagsQuery);
  const [own, setOwn] = useState(chat.tag_ids); // current tags; the `chat` property does not change while the dialog is open
  const [problem, setProblem] = useState<string>();
  const act = async (work: () => Promise<unknown>) => {
    setProblem(undefined);
    try {
      await work();
      await client.invalidateQueries({ queryKey: tagsQuery.queryKey });
    } catch (failure) {
      setProblem(wordsFor(failure));
    }
  };
  const toggle = (tagId: string, isOn: boolean) =>
    act(async () => {
      const changed = await tagChat(chat.id, tagId, isOn);
      placeChat(client, changed);
      setOwn(changed.tag_ids);
    });
  return (
    <Dialog title={`Tags of ${chat.title}`} isOpen onClose={onClose}>
      <Problem isBoxed className="mb-2" words={problem} />
      {error ? (
        <Failed words={wordsFor(error)} onRetry={() => void refetch()} />
      ) : !tags ? (
        <Lines widths={["w-1/2", "w-1/3"]} />
      ) : (
        <ul aria-label="Tags" className="flex flex-col">
          {tags.map((tag) => (
            <TagRow
              key={tag.id}
              tag={tag}
              others={tags.filter((other) => other.id !== tag.id)}
              isOn={own.includes(tag.id)}
              onToggle={(isOn) => void toggle(tag.id, isOn)}
              act={act}
            />
          ))}
        </ul>
      )}
      <NewTag
        onMake={(name, colour) =>
          act(async () => {
            const tag = await createTag(name, colour);
            await toggle(tag.id, true);
          })
        }
      />
    </Dialog>
  );
}

type RowProps = {
  tag: Tag;
  others: Tag[];
  isOn: boolean;
  onToggle: (isOn: boolean) => void;
  act: (work: () => Promise<unknown>) => Promise<void>;
};

function TagRow({ tag, others, isOn, onToggle, act }: RowProps) {
  const toast = useToast();
  const client = useQueryClient();
  const [isRenaming, setRenaming] = useState(false);
  const icon = { size: 16, strokeWidth: 1.5, "aria-hidden": true } as const;
  if (isRenaming)
    return (
      <li>
        <NameAndColour
          label="Name of the tag"
          verb="Save"
          tag={tag}
          onDone={async (name, colour) => {
            await act(() => updateTag(tag.id, { name, colour }));
            setRenaming(false);
          }}
        />
      </li>
    );
  const entries: MenuEntry[] = [
    { label: "Rename or colour", icon: <Pencil {...icon} />, onChoose: () => setRenaming(true) },
    ...others.slice(0, 8).map((other) => ({
      label: `Merge into ${other.name}`,
      icon: <Combine {...icon} />,
      onChoose: () => void act(() => mergeTag(tag.id, other.id)),
    })),
    {
      label: "Delete",
      icon: <Trash2 {...icon} />,
      isDangerous: true,
      onChoose: () =>
        void act(async () => {
          await deleteTag(tag.id);
          toast.offerUndo(`The tag ${tag.name} is deleted.`, () => {
            restoreTag(tag.id)
              .then(() => client.invalidateQueries({ queryKey: tagsQuery.queryKey }))
              .catch((error) => toast.say(wordsFor(error)));
          });
        }),
    },
  ];
  return (
    <li className="flex items-center gap-1 rounded-control hover:bg-surface-hover">
      {/* biome-ignore lint/a11y/noLabelWithoutControl: the checkbox is inside it */}
      <label className="flex min-h-10 min-w-0 flex-1 items-center gap-3 px-2">
        <Tick label={tag.name} isOn={isOn} onChange={onToggle} />
        <Dot colour={tag.colour} />
        <span className="min-w-0 truncate">{tag.name}</span>
      </label>
      <Menu
        trigger={
          <IconButton label={`Actions for the tag ${tag.name}`}>
            <MoreHorizontal size={16} strokeWidth={1.5} aria-hidden />
          </IconButton>
        }
        entries={entries}
      />
    </li>
  );
}

function NewTag({ onMake }: { onMake: (name: string, colour: Colour) => Promise<void> }) {
  return (
    <div className="mt-3 border-hairline border-t pt-3">
      <NameAndColour label="Name of a new tag" verb="Add" onDone={onMake} />
    </div>
  );
}

type NameProps = {
  label: string;
  verb: string;
  tag?: Tag;
  onDone: (name: string, colour: Colour) => Promise<void>;
};

function NameAndColour({ label, verb, tag, onDone }: NameProps) {
  const [name, setName] = useState(tag?.name ?? "");
  const [colour, setColour] = useState<Colour>(tag?.colour ?? "grey");
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (!name.trim()) return;
    await onDone(name.trim(), colour);
    if (!tag) setName("");
  };
  return (
    <form className="flex flex-wrap items-center gap-2 py-1" onSubmit={(event) => void submit(event)}>
      <input
        aria-label={label}
        placeholder={label}
        value={name}
        maxLength={50}
        onChange={(event) => setName(event.target.value)}
        className="min-h-9 min-w-0 flex-1 basis-40 rounded-control border border-hairline-strong bg-surface-raised px-3 outline-none focus-visible:border-accent"
      />
      <fieldset className="flex items-center gap-1">
        <legend className="sr-only">Colour</legend>
        {COLOURS.map((item) => (
          <button
            key={item}
            type="button"
            aria-label={item}
            aria-pressed={item === colour}
            onClick={() => setColour(item)}
            className={cx(
              "flex size-8 items-center justify-center rounded-full border-2 pointer-coarse:size-10",
              item === colour ? "border-accent" : "border-transparent",
            )}
          >
            <Dot colour={item} isLarge />
          </button>
        ))}
      </fieldset>
      <Button type="submit" disabled={!name.trim()}>
        {!tag && <Plus size={14} strokeWidth={1.5} aria-hidden />} {verb}
      </Button>
    </form>
  );
}

export function Dot({ colour, isLarge = false }: { colour: Colour; isLarge?: boolean }) {
  return (
    <span aria-hidden className={cx("shrink-0 rounded-full", isLarge ? "size-4" : "size-2", DOTS[colour])} />
  );
}
