import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { ApiError, api, type Schemas } from "@/api/client";
import { wordsFor } from "@/api/words";
import { exactTime, relativeTime, wholeNumber } from "@/lib/dates";
import { readStream } from "@/realtime/stream";
import { Button } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { Empty, Failed, Lines } from "@/ui/states";
import { FileBaseProvider } from "../files";
import type { Page } from "../queries";
import { applyRunEvent, type LiveReply, nothingYet } from "../reducer";
import { Markdown } from "./markdown";
import { MessageParts } from "./message-parts";

type SharedMessage = Schemas["SharedMessageRead"];
const AGAIN_MS = 3000;

/** A chat or draft as visitors of a public link see it: read-only and live. */
export function SharedChat({ token }: { token: string }) {
  const path = `/shared/${encodeURIComponent(token)}`;
  const chat = useQuery({
    queryKey: ["shared", token],
    queryFn: ({ signal }) => api<Schemas["SharedRead"]>("GET", path, { signal }),
    retry: (failures, error) => !(error instanceof ApiError) && failures < 2,
  });
  const page = useInfiniteQuery({
    queryKey: ["shared", token, "messages"],
    queryFn: ({ pageParam, signal }) =>
      api<Page<SharedMessage>>("GET", `${path}/messages`, { query: { cursor: pageParam }, signal }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    enabled: chat.isSuccess,
  });
  useSharedEvents(token, path, chat.isSuccess);
  useEffect(() => {
    if (chat.data) document.title = `${chat.data.title} · Tertulia`;
  }, [chat.data]);
  const [isChatShown, setChatShown] = useState(false); // of a draft
  const draft = chat.data?.draft;
  const messages = useMemo(
    () => page.data?.pages.flatMap((item) => item.items).toReversed() ?? [],
    [page.data],
  );

  if (chat.error)
    return (
      <main className="flex h-dvh">
        {chat.error instanceof ApiError && chat.error.status === 404 ? (
          <Empty title="Nothing is shared here">The link was ended, has expired, or is not whole.</Empty>
        ) : (
          <Failed words={wordsFor(chat.error)} onRetry={() => void chat.refetch()} />
        )}
      </main>
    );
  return (
    <FileBaseProvider value={`/api/v1${path}`}>
      <div className="h-dvh overflow-y-auto">
        <header className="border-hairline border-b">
          <div className="mx-auto flex w-full max-w-read items-center gap-3 px-4 py-4">
            <div className="min-w-0 flex-1">
              <h1 className="break-words font-serif text-2xl">{chat.data?.title ?? " "}</h1>
              {chat.data && (
                <p className="text-sm text-text-muted">
                  Shared by {chat.data.owner_name} ·{" "}
                  {draft
                    ? `${wholeNumber(draft.words)} words · version ${draft.version_number}`
                    : `${wholeNumber(chat.data.message_count)} messages`}
                </p>
              )}
            </div>
            {draft && (chat.data?.message_count ?? 0) > 0 && (
              <Button aria-pressed={isChatShown} onClick={() => setChatShown(!isChatShown)}>
                {isChatShown ? "Show the text" : "Show the chat"}
              </Button>
            )}
            <a href="/" className="shrink-0 font-serif text-accent text-lg">
              Tertulia
            </a>
          </div>
        </header>
        <main className="mx-auto flex w-full max-w-read flex-col gap-6 px-4 py-6">
          {draft && !isChatShown && (
            <article aria-label="The text" className="font-serif text-read">
              <h2 className="sr-only">The text</h2>
              {draft.content ? (
                <Markdown text={draft.content} />
              ) : (
                <Empty level={2} title="Nothing written yet" />
              )}
            </article>
          )}
          {(!draft || isChatShown) && page.hasNextPage && (
            <Button
              className="self-center"
              disabled={page.isFetchingNextPage}
              onClick={() => void page.fetchNextPage()}
            >
              Show earlier messages
            </Button>
          )}
          {draft && !isChatShown ? null : page.isPending ? (
            <Lines widths={["w-full", "w-2/3", "w-5/6"]} />
          ) : page.error && messages.length === 0 ? (
            <Failed words={wordsFor(page.error)} onRetry={() => void page.refetch()} />
          ) : messages.length === 0 ? (
            <Empty level={2} title="Nothing said yet" />
          ) : (
            messages.map((message) => <SharedRow key={message.id} path={path} message={message} />)
          )}
        </main>
      </div>
    </FileBaseProvider>
  );
}

function SharedRow({ path, message }: { path: string; message: SharedMessage }) {
  const isOpen = message.status === "sending" || message.status === "streaming";
  const live = useSharedReply(path, isOpen ? message.run_id : null);
  const isPerson = message.role === "user";
  const parts = isOpen && live.parts.length ? live.parts : message.parts;
  const who = isPerson ? (message.name ?? "Somebody") : (message.model_name ?? "Reply");
  return (
    <article aria-label={who} className={cx("flex min-w-0 flex-col gap-1", isPerson && "items-end")}>
      <p className="text-sm text-text-muted" title={exactTime(message.created_at)}>
        {who} · {relativeTime(message.created_at)}
      </p>
      <div className={cx("min-w-0 max-w-full", isPerson && "rounded-card bg-surface-quiet px-4 py-2")}>
        {parts.length ? (
          <MessageParts parts={parts} messageId={message.id} isMarkdown={!isPerson} isStreaming={isOpen} />
        ) : (
          isOpen && <p className="shimmer text-text-muted">Answering …</p>
        )}
      </div>
    </article>
  );
}

/** Fetch again after each change. When the share ends, the stream ends and this shows it. */
function useSharedEvents(token: string, path: string, isOpen: boolean): void {
  const client = useQueryClient();
  useEffect(() => {
    if (!isOpen) return;
    const stop = new AbortController();
    const refresh = () => void client.invalidateQueries({ queryKey: ["shared", token] });
    const listen = async () => {
      let isFirst = true;
      while (!stop.signal.aborted) {
        const end = await readStream(
          `/api/v1${path}/events`,
          undefined,
          // Events between two streams are missed, so fetch when the second is ready.
          (event) => (event.event === "change" || (event.event === "ready" && !isFirst)) && refresh(),
          stop.signal,
        );
        isFirst = false;
        if (stop.signal.aborted) return;
        refresh();
        if (end === "gone") return;
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    };
    void listen();
    return () => stop.abort();
  }, [client, token, path, isOpen]);
}

function useSharedReply(path: string, runId: string | null): LiveReply {
  const [reply, setReply] = useState(nothingYet);
  useEffect(() => {
    if (!runId) return;
    const stop = new AbortController();
    setReply(nothingYet);
    void readStream(
      `/api/v1${path}/runs/${runId}/events`,
      undefined,
      ({ event, data }) => {
        if (event?.endsWith(".delta") || event === "message.reset")
          setReply((before) => applyRunEvent(before, JSON.parse(data)));
      },
      stop.signal,
    );
    return () => stop.abort();
  }, [path, runId]);
  return reply;
}
