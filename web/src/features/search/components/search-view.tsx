import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Search, X } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { wordsFor } from "@/api/words";
import { exactTime, relativeTime } from "@/lib/dates";
import { Button } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Failed, Lines } from "@/ui/states";
import {
  type Chosen,
  type Has,
  type Hit,
  meaningQuery,
  type Order,
  searchQuery,
  type When,
  type Who,
} from "../queries";

const PAUSE_MS = 150; // after the last key, before the search is sent
const WHO = [
  { value: "anyone", label: "By anyone" },
  { value: "user", label: "By people" },
  { value: "assistant", label: "By models" },
];
const ORDER = [
  { value: "relevance", label: "Best first" },
  { value: "newest", label: "Newest first" },
];

const WHEN = [
  { value: "any", label: "At any time" },
  { value: "day", label: "Since yesterday" },
  { value: "week", label: "In the last week" },
  { value: "month", label: "In the last month" },
  { value: "year", label: "In the last year" },
];
const HAS = [
  { value: "any", label: "With anything" },
  { value: "code", label: "With code" },
  { value: "image", label: "With a picture" },
  { value: "file", label: "With a file" },
];

type Props = {
  typed: string;
  chat: { id: string; title: string } | undefined; // limits the search to one chat
  onType: (typed: string) => void;
  onLeaveChat: () => void;
};

/** Search all messages by text and meaning. The text is in the address, so that going back restores it. */
export function SearchView({ typed, chat, onType, onLeaveChat }: Props) {
  const [text, setText] = useState(typed);
  const [chosen, setChosen] = useState<Omit<Chosen, "chatId">>({
    who: "anyone",
    order: "relevance",
    when: "any",
    has: "any",
  });
  const choose = (fields: Partial<Chosen>) => setChosen((before) => ({ ...before, ...fields }));
  const box = useRef<HTMLInputElement>(null);
  useEffect(() => box.current?.focus(), []);
  const written = useRef(typed); // what this page wrote into the address last
  useEffect(() => {
    if (typed !== written.current) {
      // The address was changed elsewhere, for example by the palette.
      written.current = typed;
      setText(typed);
      return;
    }
    const timer = setTimeout(() => {
      if (text === typed) return;
      written.current = text;
      onType(text);
    }, PAUSE_MS);
    return () => clearTimeout(timer);
  }, [text, typed, onType]);
  const query = useInfiniteQuery(searchQuery(typed, { ...chosen, chatId: chat?.id }));
  const hits = query.data?.pages.flatMap((page) => page.items) ?? [];
  const isAsked = typed.trim() !== "";
  return (
    <div className="flex flex-col gap-3">
      <search>
        <label className="flex items-center gap-2 rounded-sheet border border-hairline-strong bg-surface-raised px-3 focus-within:border-accent">
          <Search size={18} strokeWidth={1.5} aria-hidden className="text-text-muted" />
          <input
            ref={box}
            type="search"
            aria-label="Search in everything that was said"
            placeholder="Search in everything that was said"
            value={text}
            maxLength={500}
            onChange={(event) => setText(event.target.value)}
            className="min-h-11 w-full bg-transparent text-md outline-none placeholder:text-text-muted"
          />
        </label>
        <div className="flex flex-wrap items-center gap-2 pt-2">
          {chat && (
            <Button className="max-w-60" onClick={onLeaveChat}>
              <span className="truncate">In {chat.title}</span>
              <X size={14} strokeWidth={1.5} aria-label="Search in all chats" />
            </Button>
          )}
          <Choice
            label="Who said it"
            value={chosen.who}
            options={WHO}
            onChoose={(value) => choose({ who: value as Who })}
          />
          <Choice
            label="When"
            value={chosen.when}
            options={WHEN}
            onChoose={(value) => choose({ when: value as When })}
          />
          <Choice
            label="What it has"
            value={chosen.has}
            options={HAS}
            onChoose={(value) => choose({ has: value as Has })}
          />
          <Choice
            label="Order"
            value={chosen.order}
            options={ORDER}
            onChoose={(value) => choose({ order: value as Order })}
          />
        </div>
      </search>
      <p role="status" className="sr-only">
        {isAsked && query.data ? (hits.length === 0 ? "Nothing found." : `${hits.length} found.`) : ""}
      </p>
      {!isAsked ? (
        <Help />
      ) : query.error ? (
        <Failed words={wordsFor(query.error)} onRetry={() => void query.refetch()} />
      ) : query.isPending ? (
        <Lines widths={["w-2/3", "w-full", "w-1/2", "w-5/6"]} />
      ) : hits.length === 0 ? (
        <div className="py-6 text-center text-text-muted">
          <p>Nothing was found for “{typed}”.</p>
          <Help />
        </div>
      ) : (
        <>
          <ul aria-label="Found" className="flex flex-col gap-1">
            {hits.map((hit) => (
              <HitRow
                key={`${hit.message?.id ?? hit.chat.id}${hit.attachment?.id ?? ""}${hit.draft?.id ?? ""}`}
                hit={hit}
              />
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
        </>
      )}
      <MeaningState />
    </div>
  );
}

/** The progress of the semantic index. Until it is complete, missing messages are found by text only. */
function MeaningState() {
  const { data } = useQuery(meaningQuery);
  if (data?.phase !== "building" && data?.phase !== "fetching") return null;
  const percent = Math.floor((data.progress ?? 0) * 100);
  return (
    <p className="text-sm text-text-muted tabular-nums">
      What means the same in other words is found too, as far as it is prepared: {percent} %, the newest
      first.
    </p>
  );
}

function HitRow({ hit }: { hit: Hit }) {
  const { chat, message, draft } = hit;
  const who = draft
    ? "A draft"
    : hit.attachment
      ? hit.attachment.file_name
      : message
        ? message.role === "user"
          ? "A person"
          : "A model"
        : "The title of a chat";
  return (
    <li>
      <Link
        {...(draft
          ? ({ to: "/d/$draftId", params: { draftId: draft.id } } as const)
          : ({
              to: "/c/$chatId",
              params: { chatId: chat.id },
              search: message ? { m: message.id } : {},
            } as const))}
        className="flex flex-col gap-0.5 rounded-card px-3 py-2 hover:bg-surface-hover"
      >
        <span className="flex min-w-0 gap-2 text-sm text-text-muted">
          <span className="min-w-0 truncate font-medium text-text">
            {draft ? draft.title || "Untitled" : chat.title}
          </span>
          <span className="min-w-0 max-w-60 shrink-0 truncate">
            {who}
            {chat.is_archived && " · archived"}
            {hit.by === "meaning" && " · means something alike"}
          </span>
          {message && (
            <span className="ml-auto shrink-0 tabular-nums" title={exactTime(message.created_at)}>
              {relativeTime(message.created_at)}
            </span>
          )}
        </span>
        <span className="line-clamp-3 break-words">
          {hit.snippet.map((piece, index) =>
            piece.is_hit ? (
              // biome-ignore lint/suspicious/noArrayIndexKey: the pieces have no identity and never move
              <mark key={index} className="rounded bg-accent-quiet px-0.5 text-text">
                {piece.text}
              </mark>
            ) : (
              piece.text
            ),
          )}
        </span>
      </Link>
    </li>
  );
}

function Help() {
  const examples = [
    '"exact words"',
    "-without",
    "from:me",
    "in:title",
    "before:2026-11",
    "after:2025",
    "has:code",
  ];
  return (
    <p className="py-2 text-sm text-text-muted">
      Beginnings of words are enough. You can also write{" "}
      {examples.map((example, index) => (
        <span key={example}>
          {index > 0 && " "}
          <code className="rounded bg-surface-quiet px-1 font-mono">{example}</code>
        </span>
      ))}
    </p>
  );
}
