import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import {
  Archive,
  ArchiveRestore,
  Download,
  MoreHorizontal,
  Pencil,
  Pin,
  PinOff,
  RotateCcw,
  Tag as TagIcon,
  Trash2,
} from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { wordsFor } from "@/api/words";
import { dayGroup } from "@/lib/dates";
import { DRAGGED_CHAT } from "@/lib/dragged";
import { IconButton } from "@/ui/button";
import { Menu, type MenuEntry } from "@/ui/menu";
import { Failed, Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import { placeChat } from "../cache";
import {
  type Chat,
  chatsQuery,
  deleteChat,
  type Page,
  restoreChat,
  type Shown,
  taggedQuery,
  updateChat,
} from "../queries";
import { sharedChatsQuery } from "../shares";
import { tagsQuery } from "../tags";
import { ExportDialog } from "./export-dialog";
import { Dot, TagDialog } from "./tag-dialog";
import { TagFilter } from "./tag-filter";

const NOTHING: Record<Shown | "tagged", string> = {
  tagged: "No chat has this tag.",
  active: "No chats yet",
  pinned: "",
  archived: "Nothing is archived.",
  trash: "The trash is empty.",
};

/** Chats grouped by the day of their last message. Scrolling loads more. */
export function ChatList({ shown, onOpen }: { shown: Shown; onOpen?: () => void }) {
  return <Chats query={useInfiniteQuery(chatsQuery(shown))} shown={shown} onOpen={onOpen} />;
}

/** The list of the side bar: pinned chats first, or only chats with a tag. */
export function OwnChats({ onOpen }: { onOpen?: () => void }) {
  const [tagId, setTagId] = useState<string>();
  const { data: tags = [] } = useQuery(tagsQuery);
  const chosen = tags.find((tag) => tag.id === tagId)?.id;
  return (
    <>
      <TagFilter chosen={chosen} onChoose={setTagId} />
      {chosen ? (
        <TaggedChats tagId={chosen} onOpen={onOpen} />
      ) : (
        <>
          <PinnedChats onOpen={onOpen} />
          <ChatsOfOthers onOpen={onOpen} />
          <ChatList shown="active" onOpen={onOpen} />
        </>
      )}
    </>
  );
}

function TaggedChats({ tagId, onOpen }: { tagId: string; onOpen?: () => void }) {
  return <Chats query={useInfiniteQuery(taggedQuery(tagId))} shown="tagged" onOpen={onOpen} />;
}

type ListQuery = ReturnType<typeof useInfiniteQuery<Page<Chat>, Error, { pages: Page<Chat>[] }>>;

function Chats({ query, shown, onOpen }: { query: ListQuery; shown: Shown | "tagged"; onOpen?: () => void }) {
  const { data, error, isPending, hasNextPage, isFetchingNextPage, fetchNextPage, refetch } = query;
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!end.current || !hasNextPage || isFetchingNextPage) return;
    const seen = new IntersectionObserver(([entry]) => entry?.isIntersecting && void fetchNextPage());
    seen.observe(end.current);
    return () => seen.disconnect();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage]);

  if (isPending)
    return (
      <div className="p-3">
        <Lines widths={["w-4/5", "w-3/5", "w-2/3", "w-1/2"]} />
      </div>
    );
  if (error) return <Failed words={wordsFor(error)} onRetry={() => void refetch()} />;
  const loaded = data.pages.flatMap((page) => page.items);
  if (loaded.length === 0) return <p className="p-3 text-text-muted">{NOTHING[shown]}</p>;
  // Pinned chats are already listed above.
  const chats = shown === "active" ? loaded.filter((chat) => !chat.pinned_at) : loaded;
  return (
    <>
      {groupByDay(chats).map(([day, group]) => (
        <section key={day} aria-label={day} className="mb-3">
          <h2 className="px-3 py-1 font-medium text-text-muted text-xs">{day}</h2>
          <ul>
            {group.map((chat) => (
              <ChatRow key={chat.id} chat={chat} shown={shown} onOpen={onOpen} />
            ))}
          </ul>
        </section>
      ))}
      <div ref={end} className="h-8" />
    </>
  );
}

/** The pinned chats. Hidden while there are none. */
function PinnedChats({ onOpen }: { onOpen?: () => void }) {
  const { data } = useInfiniteQuery(chatsQuery("pinned"));
  const chats = data?.pages.flatMap((page) => page.items) ?? [];
  if (chats.length === 0) return null;
  return (
    <section aria-label="Pinned" className="mb-3">
      <h2 className="px-3 py-1 font-medium text-text-muted text-xs">Pinned</h2>
      <ul>
        {chats.map((chat) => (
          <ChatRow key={chat.id} chat={chat} shown="pinned" onOpen={onOpen} />
        ))}
      </ul>
    </section>
  );
}

/** Chats that other users share with this user. */
function ChatsOfOthers({ onOpen }: { onOpen?: () => void }) {
  const { data: chats = [] } = useQuery(sharedChatsQuery);
  if (chats.length === 0) return null;
  return (
    <section aria-label="Shared with you" className="mb-3">
      <h2 className="px-3 py-1 font-medium text-text-muted text-xs">Shared with you</h2>
      <ul>
        {chats.map((chat) => (
          <li key={chat.id}>
            <Link
              to="/c/$chatId"
              params={{ chatId: chat.id }}
              onClick={onOpen}
              className="flex min-h-9 items-center gap-2 rounded-control px-3 hover:bg-surface-hover pointer-coarse:min-h-11"
              activeProps={{ className: "bg-surface-hover" }}
            >
              <span className="min-w-0 flex-1 truncate">{chat.title}</span>
              <span className="max-w-24 shrink-0 truncate text-sm text-text-muted">{chat.owner?.name}</span>
            </Link>
          </li>
        ))}
      </ul>
    </section>
  );
}

function groupByDay(chats: Chat[]): [string, Chat[]][] {
  const groups = new Map<string, Chat[]>();
  for (const chat of chats) {
    const day = dayGroup(chat.last_message_at);
    groups.set(day, [...(groups.get(day) ?? []), chat]);
  }
  return [...groups];
}

type RowProps = { chat: Chat; shown: Shown | "tagged"; onOpen?: () => void };

function ChatRow({ chat, shown, onOpen }: RowProps) {
  const [isRenaming, setRenaming] = useState(false);
  const [isTagging, setTagging] = useState(false);
  const { data: tags = [] } = useQuery(tagsQuery);
  const own = tags.filter((tag) => chat.tag_ids.includes(tag.id));
  const [isSaving, setSaving] = useState(false);
  const entries = useChatEntries(chat, {
    rename: () => setRenaming(true),
    tag: () => setTagging(true),
    save: () => setSaving(true),
  });
  if (isRenaming) return <Rename chat={chat} onDone={() => setRenaming(false)} />;
  return (
    <li
      className="group relative flex items-center rounded-control hover:bg-surface-hover has-[[aria-current=page]]:bg-surface-hover"
      draggable={shown !== "trash"}
      onDragStart={(event) => event.dataTransfer.setData(DRAGGED_CHAT, chat.id)}
    >
      {shown === "trash" ? (
        <span className="min-w-0 flex-1 truncate px-3 py-2 text-text-muted">{chat.title}</span>
      ) : (
        <Link
          to="/c/$chatId"
          params={{ chatId: chat.id }}
          onClick={onOpen}
          onDoubleClick={() => setRenaming(true)}
          title={chat.last_message?.excerpt}
          className="min-w-0 flex-1 truncate rounded-control px-3 py-2 pointer-coarse:py-3"
        >
          {chat.title}
        </Link>
      )}
      {own.length > 0 && (
        <span className="flex shrink-0 gap-1 pr-1" title={own.map((tag) => tag.name).join(", ")}>
          {own.slice(0, 4).map((tag) => (
            <Dot key={tag.id} colour={tag.colour} />
          ))}
        </span>
      )}
      {isSaving && <ExportDialog chat={chat} onClose={() => setSaving(false)} />}
      {isTagging && <TagDialog chat={chat} onClose={() => setTagging(false)} />}
      <div className="pr-1 focus-within:opacity-100 group-hover:opacity-100 has-[[data-popup-open]]:opacity-100 pointer-fine:opacity-0">
        <Menu
          trigger={
            <IconButton label={`Actions for ${chat.title}`}>
              <MoreHorizontal size={16} strokeWidth={1.5} aria-hidden />
            </IconButton>
          }
          entries={entries}
        />
      </div>
    </li>
  );
}

function useChatEntries(
  chat: Chat,
  { rename, tag, save }: { rename: () => void; tag: () => void; save: () => void },
): MenuEntry[] {
  const client = useQueryClient();
  const toast = useToast();
  /** Show the change at once, and revert it if the server refuses. */
  const change = async (optimistic: Chat, act: () => Promise<unknown>) => {
    placeChat(client, optimistic);
    try {
      await act();
    } catch (error) {
      placeChat(client, chat);
      toast.say(wordsFor(error));
    }
  };
  const archive = (is_archived: boolean) =>
    change({ ...chat, is_archived }, () => updateChat(chat.id, { is_archived }));
  const restore = () => change({ ...chat, deleted_at: null }, () => restoreChat(chat.id));
  const pin = (is_pinned: boolean) =>
    change({ ...chat, pinned_at: is_pinned ? new Date().toISOString() : null }, () =>
      updateChat(chat.id, { is_pinned }),
    );
  const icon = { size: 16, strokeWidth: 1.5, "aria-hidden": true } as const;
  if (chat.deleted_at)
    return [{ label: "Restore", icon: <RotateCcw {...icon} />, onChoose: () => void restore() }];
  return [
    { label: "Rename", icon: <Pencil {...icon} />, onChoose: rename },
    { label: "Export", icon: <Download {...icon} />, onChoose: save },
    { label: "Tags", icon: <TagIcon {...icon} />, onChoose: tag },
    chat.pinned_at
      ? { label: "Take off the pin", icon: <PinOff {...icon} />, onChoose: () => void pin(false) }
      : { label: "Pin", icon: <Pin {...icon} />, onChoose: () => void pin(true) },
    chat.is_archived
      ? {
          label: "Take out of archive",
          icon: <ArchiveRestore {...icon} />,
          onChoose: () => void archive(false),
        }
      : {
          label: "Archive",
          icon: <Archive {...icon} />,
          onChoose: () => {
            void archive(true);
            toast.offerUndo("Archived.", () => void archive(false));
          },
        },
    {
      label: "Delete",
      icon: <Trash2 {...icon} />,
      isDangerous: true,
      onChoose: () => {
        void change({ ...chat, deleted_at: new Date().toISOString() }, () => deleteChat(chat.id));
        toast.offerUndo("Moved to the trash.", () => void restore());
      },
    },
  ];
}

function Rename({ chat, onDone }: { chat: Chat; onDone: () => void }) {
  const client = useQueryClient();
  const toast = useToast();
  const [title, setTitle] = useState(chat.title);
  const save = async () => {
    onDone();
    if (!title.trim() || title === chat.title) return;
    placeChat(client, { ...chat, title });
    try {
      await updateChat(chat.id, { title });
    } catch (error) {
      placeChat(client, chat);
      toast.say(wordsFor(error));
    }
  };
  return (
    <li>
      <input
        aria-label="Title of the chat"
        // biome-ignore lint/a11y/noAutofocus: the person has just asked to rename
        autoFocus
        value={title}
        maxLength={200}
        onChange={(event) => setTitle(event.target.value)}
        onFocus={(event) => event.target.select()}
        onBlur={() => void save()}
        onKeyDown={(event) => {
          if (event.nativeEvent.isComposing) return;
          if (event.key === "Enter") void save();
          if (event.key === "Escape") onDone();
        }}
        className="w-full rounded-control border border-accent bg-surface-raised px-3 py-2 outline-none"
      />
    </li>
  );
}
