import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { FilePlus2, FileText, X } from "lucide-react";
import { useState } from "react";
import { wordsFor } from "@/api/words";
import { wholeNumber } from "@/lib/dates";
import { IconButton } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Problem } from "@/ui/problem";
import { Failed, Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import {
  attachDraft,
  attachedQuery,
  detachDraft,
  draftsQuery,
  type Listed,
  sharedDraftsQuery,
} from "../queries";

/** The drafts that a chat's prompts include, with links and remove buttons. */
export function AttachedDrafts({ chatId }: { chatId: string }) {
  const client = useQueryClient();
  const { say } = useToast();
  const { data: drafts = [] } = useQuery(attachedQuery(chatId));
  if (drafts.length === 0) return null;
  const remove = async (draft: Listed) => {
    try {
      await detachDraft(chatId, draft.id);
      await client.invalidateQueries(attachedQuery(chatId));
    } catch (error) {
      say(wordsFor(error));
    }
  };
  return (
    <ul aria-label="Attached drafts" className="mx-auto flex w-full max-w-read flex-wrap gap-2 px-4 pb-2">
      {drafts.map((draft) => (
        <li
          key={draft.id}
          className="flex max-w-full items-center gap-1 rounded-control border border-hairline bg-surface-quiet pl-2 text-sm"
        >
          <FileText size={14} strokeWidth={1.5} aria-hidden className="shrink-0 text-text-muted" />
          <Link
            to="/d/$draftId"
            params={{ draftId: draft.id }}
            className="min-w-0 truncate py-1 hover:underline"
            title="The models of this chat are told what it says"
          >
            {draft.title || "Untitled"}
          </Link>
          <IconButton label={`Take ${draft.title || "the draft"} away`} onClick={() => void remove(draft)}>
            <X size={14} strokeWidth={1.5} aria-hidden />
          </IconButton>
        </li>
      ))}
    </ul>
  );
}

/** Choose a draft for a chat's prompts. */
export function AttachDraft({ chatId }: { chatId: string }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <IconButton label="Attach a draft" onClick={() => setOpen(true)}>
        <FilePlus2 size={16} strokeWidth={1.5} aria-hidden />
      </IconButton>
      {isOpen && <ChooseDraft chatId={chatId} onClose={() => setOpen(false)} />}
    </>
  );
}

function ChooseDraft({ chatId, onClose }: { chatId: string; onClose: () => void }) {
  const client = useQueryClient();
  const own = useInfiniteQuery(draftsQuery());
  const { data: shared = [] } = useQuery(sharedDraftsQuery);
  const { data: attached = [] } = useQuery(attachedQuery(chatId));
  const [typed, setTyped] = useState("");
  const [problem, setProblem] = useState<string>();
  const known = new Set(attached.map((draft) => draft.id));
  const drafts = [...(own.data?.pages.flatMap((page) => page.items) ?? []), ...shared].filter(
    (draft) =>
      !known.has(draft.id) && (draft.title || "Untitled").toLowerCase().includes(typed.trim().toLowerCase()),
  );
  const choose = async (draft: Listed) => {
    try {
      client.setQueryData(attachedQuery(chatId).queryKey, await attachDraft(chatId, draft.id));
      onClose();
    } catch (error) {
      setProblem(wordsFor(error));
    }
  };
  return (
    <Dialog title="Attach a draft" isOpen onClose={onClose}>
      <p className="pb-3 text-sm text-text-muted">
        With each message the models of this chat are told what it says then.
      </p>
      <input
        type="search"
        aria-label="Find a draft by its title"
        placeholder="Find by title"
        value={typed}
        onChange={(event) => setTyped(event.target.value)}
        className="mb-2 min-h-9 w-full rounded-control border border-hairline-strong bg-surface-raised px-3"
      />
      <Problem isBoxed className="mb-2" words={problem} />
      {own.error ? (
        <Failed words={wordsFor(own.error)} onRetry={() => void own.refetch()} />
      ) : own.isPending ? (
        <Lines widths={["w-full", "w-2/3"]} />
      ) : drafts.length === 0 ? (
        <p className="py-4 text-center text-text-muted">
          {typed.trim() ? "No draft has this title." : "There is no draft to attach."}
        </p>
      ) : (
        <ul aria-label="Drafts to attach" className="flex max-h-80 flex-col overflow-y-auto">
          {drafts.map((draft) => (
            <li key={draft.id}>
              <button
                type="button"
                onClick={() => void choose(draft)}
                className="flex min-h-11 w-full items-center gap-2 rounded-card px-2 text-left hover:bg-surface-hover"
              >
                <span className="min-w-0 flex-1 truncate">{draft.title || "Untitled"}</span>
                <span className="shrink-0 text-sm text-text-muted tabular-nums">
                  {wholeNumber(draft.words)} words
                </span>
              </button>
            </li>
          ))}
        </ul>
      )}
      {own.hasNextPage && (
        <button
          type="button"
          className="min-h-11 w-full text-accent"
          disabled={own.isFetchingNextPage}
          onClick={() => void own.fetchNextPage()}
        >
          Show older drafts
        </button>
      )}
    </Dialog>
  );
}
