import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { RotateCcw, Trash2 } from "lucide-react";
import { wordsFor } from "@/api/words";
import { exactTime, relativeTime, wholeNumber } from "@/lib/dates";
import { Button, IconButton } from "@/ui/button";
import { Failed, Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import { deleteDraft, draftsQuery, type Listed, restoreDraft, sharedDraftsQuery } from "../queries";

/** Drafts that other users share with this user. */
export function SharedDrafts() {
  const { data: drafts = [], error, refetch } = useQuery(sharedDraftsQuery);
  if (error) return <Failed words={wordsFor(error)} onRetry={() => void refetch()} />;
  if (drafts.length === 0) return null;
  return (
    <section aria-labelledby="shared-drafts" className="pt-6">
      <h2 id="shared-drafts" className="px-3 pb-1 font-medium text-sm text-text-muted">
        Shared with you
      </h2>
      <ul className="flex flex-col gap-1">
        {drafts.map((draft) => (
          <Row key={draft.id} draft={draft} isTrash={false} />
        ))}
      </ul>
    </section>
  );
}

/** All drafts, most recently changed first. */
export function DraftList({ isTrash = false }: { isTrash?: boolean }) {
  const query = useInfiniteQuery(draftsQuery(isTrash));
  const drafts = query.data?.pages.flatMap((page) => page.items) ?? [];
  if (query.error) return <Failed words={wordsFor(query.error)} onRetry={() => void query.refetch()} />;
  if (query.isPending) return <Lines widths={["w-2/3", "w-full", "w-1/2"]} />;
  if (drafts.length === 0)
    return (
      <p className="py-6 text-center text-text-muted">
        {isTrash
          ? "No draft is in the trash."
          : "No draft yet. A draft is a text that you write beside a model; every version of it is kept."}
      </p>
    );
  return (
    <>
      <ul aria-label="Drafts" className="flex flex-col gap-1">
        {drafts.map((draft) => (
          <Row key={draft.id} draft={draft} isTrash={isTrash} />
        ))}
      </ul>
      {query.hasNextPage && (
        <Button disabled={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
          Show more
        </Button>
      )}
    </>
  );
}

function Row({ draft, isTrash }: { draft: Listed; isTrash: boolean }) {
  const client = useQueryClient();
  const { say, offerUndo } = useToast();
  const title = draft.title || "Untitled";
  const run = async (work: () => Promise<unknown>) => {
    try {
      await work();
      await client.invalidateQueries({ queryKey: ["drafts"] });
    } catch (error) {
      say(wordsFor(error));
    }
  };
  const remove = () =>
    run(async () => {
      await deleteDraft(draft.id);
      offerUndo(`${title} is in the trash.`, () => void run(() => restoreDraft(draft.id)));
    });
  const words = (
    <>
      <span className="flex gap-2">
        <span className="min-w-0 truncate font-medium">{title}</span>
        <span
          className="ml-auto shrink-0 text-sm text-text-muted tabular-nums"
          title={exactTime(draft.updated_at)}
        >
          {relativeTime(draft.updated_at)}
        </span>
      </span>
      <span className="text-sm text-text-muted tabular-nums">
        {draft.owner && `${draft.owner.name} · `}
        {wholeNumber(draft.words)} words ·{" "}
        {draft.version_count === 1 ? "1 version" : `${wholeNumber(draft.version_count)} versions`}
      </span>
    </>
  );
  return (
    <li className="group flex items-center gap-1 rounded-card hover:bg-surface-hover">
      {isTrash ? (
        <div className="flex min-w-0 flex-1 flex-col px-3 py-2">{words}</div>
      ) : (
        <Link
          to="/d/$draftId"
          params={{ draftId: draft.id }}
          className="flex min-w-0 flex-1 flex-col rounded-card px-3 py-2"
        >
          {words}
        </Link>
      )}
      {isTrash ? (
        <IconButton label={`Restore ${title}`} onClick={() => void run(() => restoreDraft(draft.id))}>
          <RotateCcw size={16} strokeWidth={1.5} aria-hidden />
        </IconButton>
      ) : draft.owner ? null : (
        <IconButton label={`Delete ${title}`} onClick={() => void remove()}>
          <Trash2 size={16} strokeWidth={1.5} aria-hidden />
        </IconButton>
      )}
    </li>
  );
}
