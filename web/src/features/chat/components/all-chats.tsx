import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Archive, ArchiveRestore, RotateCcw, Tag as TagIcon, Trash2 } from "lucide-react";
import { useState } from "react";
import { wordsFor } from "@/api/words";
import { relativeTime, wholeNumber } from "@/lib/dates";
import { Button } from "@/ui/button";
import { Menu } from "@/ui/menu";
import { Empty, Failed, Lines } from "@/ui/states";
import { Tick } from "@/ui/tick";
import { useToast } from "@/ui/toast";
import { placeChat } from "../cache";
import { type Chat, chatsQuery, deleteChat, restoreChat, type Shown, updateChat } from "../queries";
import { tagChat, tagsQuery } from "../tags";
import { Dot } from "./tag-dialog";

const AT_ONCE = 4; // parallel requests

/** A list of chats with bulk actions. */
export function AllChats({ shown }: { shown: Exclude<Shown, "pinned"> }) {
  const client = useQueryClient();
  const { say, offerUndo } = useToast();
  const { data: tags = [] } = useQuery(tagsQuery);
  const query = useInfiniteQuery(chatsQuery(shown));
  const chats = query.data?.pages.flatMap((page) => page.items) ?? [];
  const [chosenIds, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [done, setDone] = useState<number>();
  const chosen = chats.filter((chat) => chosenIds.has(chat.id));

  const choose = (id: string, isChosen: boolean) =>
    setChosen((before) => {
      const after = new Set(before);
      if (isChosen) after.add(id);
      else after.delete(id);
      return after;
    });
  /** Apply an action to each chat, a few at a time. Chats that fail stay selected, and the error is shown. */
  const each = async (some: Chat[], work: (chat: Chat) => Promise<void>): Promise<Chat[]> => {
    const failed: unknown[] = [];
    const worked: Chat[] = [];
    const waiting = some.slice();
    setDone(0);
    const take = async () => {
      for (let chat = waiting.shift(); chat; chat = waiting.shift()) {
        try {
          await work(chat);
          worked.push(chat);
          choose(chat.id, false);
        } catch (error) {
          failed.push(error);
        }
        setDone((count) => (count ?? 0) + 1);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, take));
    setDone(undefined);
    if (failed.length) say(`${wholeNumber(failed.length)} could not be changed. ${wordsFor(failed[0])}`);
    return worked;
  };
  const place = (chat: Chat) => placeChat(client, chat);
  const restore = (some: Chat[]) => each(some, async (chat) => place(await restoreChat(chat.id)));
  const archive = (some: Chat[], is_archived: boolean) =>
    each(some, async (chat) => place(await updateChat(chat.id, { is_archived })));
  const withUndo = async (words: string, work: Promise<Chat[]>, undo: (some: Chat[]) => void) => {
    const worked = await work;
    if (worked.length) offerUndo(`${wholeNumber(worked.length)} ${words}.`, () => undo(worked));
  };
  const remove = (some: Chat[]) =>
    each(some, async (chat) => {
      await deleteChat(chat.id);
      place({ ...chat, deleted_at: new Date().toISOString() });
    });

  if (query.error) return <Failed words={wordsFor(query.error)} onRetry={() => void query.refetch()} />;
  if (query.isPending) return <Lines widths={["w-full", "w-5/6", "w-full", "w-2/3"]} />;
  if (chats.length === 0)
    return (
      <Empty level={2} title={shown === "trash" ? "The trash is empty" : "No chats"}>
        {shown === "archived" ? "What you archive is kept here." : null}
      </Empty>
    );
  const icon = { size: 16, strokeWidth: 1.5, "aria-hidden": true } as const;
  return (
    <div className="flex flex-col gap-2">
      <div className="sticky top-0 z-10 flex min-h-12 flex-wrap items-center gap-2 bg-page py-1">
        <Tick
          label="Choose all that are shown"
          isOn={chosen.length > 0 && chosen.length === chats.length}
          onChange={(isOn) => setChosen(new Set(isOn ? chats.map((chat) => chat.id) : []))}
        />
        <p role="status" className="mr-auto text-text-muted">
          {done !== undefined
            ? `${wholeNumber(done)} done …`
            : chosen.length
              ? `${wholeNumber(chosen.length)} chosen`
              : "Choose chats to deal with them together"}
        </p>
        {chosen.length > 0 &&
          done === undefined &&
          (shown === "trash" ? (
            <Button onClick={() => void restore(chosen)}>
              <RotateCcw {...icon} /> Restore
            </Button>
          ) : (
            <>
              {tags.length > 0 && (
                <Menu
                  trigger={
                    <Button>
                      <TagIcon {...icon} /> Tag
                    </Button>
                  }
                  entries={tags.map((tag) => ({
                    label: tag.name,
                    icon: <Dot colour={tag.colour} />,
                    onChoose: () =>
                      void each(chosen, async (chat) => place(await tagChat(chat.id, tag.id, true))),
                  }))}
                />
              )}
              <Button
                onClick={() => {
                  const isArchived = shown === "archived";
                  void withUndo(
                    isArchived ? "taken out of the archive" : "archived",
                    archive(chosen, !isArchived),
                    (some) => void archive(some, isArchived),
                  );
                }}
              >
                {shown === "archived" ? <ArchiveRestore {...icon} /> : <Archive {...icon} />}
                {shown === "archived" ? "Take out" : "Archive"}
              </Button>
              <Button
                className="text-danger"
                onClick={() => void withUndo("deleted", remove(chosen), (some) => void restore(some))}
              >
                <Trash2 {...icon} /> Delete
              </Button>
            </>
          ))}
      </div>
      <ul aria-label="Chats" className="flex flex-col">
        {chats.map((chat) => (
          <li key={chat.id} className="flex items-center gap-2 rounded-card px-1 hover:bg-surface-hover">
            <Tick
              label={`Choose ${chat.title}`}
              isOn={chosenIds.has(chat.id)}
              onChange={(isOn) => choose(chat.id, isOn)}
            />
            <Row chat={chat} isOpenable={shown !== "trash"} />
          </li>
        ))}
      </ul>
      {query.hasNextPage && (
        <Button
          className="self-center"
          disabled={query.isFetchingNextPage}
          onClick={() => void query.fetchNextPage()}
        >
          Show more
        </Button>
      )}
    </div>
  );
}

function Row({ chat, isOpenable }: { chat: Chat; isOpenable: boolean }) {
  const words = (
    <>
      <span className="flex items-baseline gap-2">
        <span className="min-w-0 flex-1 truncate">{chat.title}</span>
        <span className="shrink-0 text-sm text-text-muted">{relativeTime(chat.last_message_at)}</span>
      </span>
      <span className="block truncate text-sm text-text-muted">{chat.last_message?.excerpt ?? " "}</span>
    </>
  );
  const look = "min-w-0 flex-1 py-2 pr-2";
  return isOpenable ? (
    <Link to="/c/$chatId" params={{ chatId: chat.id }} className={look}>
      {words}
    </Link>
  ) : (
    <div className={look}>{words}</div>
  );
}
