import { useQueryClient, useSuspenseQuery } from "@tanstack/react-query";
import { Columns2, MessageSquare, PenLine, Share2, Trash2 } from "lucide-react";
import { type KeyboardEvent, type ReactNode, useEffect, useId, useRef, useState } from "react";
import { ApiError } from "@/api/client";
import { wordsFor } from "@/api/words";
import { IconButton } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { useToast } from "@/ui/toast";
import { useMedia } from "@/ui/use-media";
import { type Draft, deleteDraft, draftQuery, renameDraft, restoreDraft } from "../queries";
import { Divider, useDivided } from "./divider";
import { type Props as OfText, TextSide } from "./text-side";

type Slots = Omit<OfText, "draft"> & {
  menuButton: ReactNode;
  chat: ReactNode;
  shareDialog: (onClose: () => void) => ReactNode;
  onGone: () => void;
};
type Side = "chat" | "draft" | "both";

/** A draft: the chat on the left, the text on the right. A phone shows one of them. */
export function DraftView({ draftId, ...slots }: { draftId: string } & Slots) {
  const { data: draft, error } = useSuspenseQuery({ ...draftQuery(draftId), refetchOnWindowFocus: false });
  // Deleted or no longer shared. Text that was not stored stays in this browser.
  if (error instanceof ApiError && error.status === 404) throw error;
  return <Sides key={draftId} draft={draft} {...slots} />;
}

function Sides({ draft, ...slots }: { draft: Draft } & Slots) {
  const { menuButton, chat } = slots;
  const isWide = useMedia("(min-width: 64rem)");
  const [side, setSide] = useState<Side>("both");
  const [share, setShare] = useDivided();
  const whole = useRef<HTMLDivElement>(null);
  const id = useId();
  const tabs: Side[] = isWide ? ["both", "chat", "draft"] : ["chat", "draft"];
  const shown = isWide ? side : side === "both" ? "draft" : side;
  useEffect(() => {
    document.title = `${draft.title || "Untitled"} · Tertulia`;
  });
  const step = (event: KeyboardEvent<HTMLDivElement>) => {
    const at = tabs.indexOf(shown);
    const last = tabs.length - 1;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: last }[event.key];
    const next = to === undefined ? undefined : tabs.at(to > last ? 0 : to);
    if (!next) return;
    event.preventDefault();
    setSide(next);
    document.getElementById(`${id}-${next}`)?.focus();
  };
  return (
    <div ref={whole} className="flex min-h-0 flex-1 flex-col">
      <h1 className="sr-only">{draft.title || "Untitled"}</h1>
      <TitleBar draft={draft} {...slots}>
        {menuButton}
      </TitleBar>
      <div
        role="tablist"
        aria-label="What is shown"
        className="flex gap-1 border-hairline border-b px-3 py-1"
        onKeyDown={step}
      >
        {tabs.map((tab) => (
          <button
            key={tab}
            type="button"
            role="tab"
            id={`${id}-${tab}`}
            aria-selected={shown === tab}
            aria-controls={tab === "both" ? undefined : `${id}-panel-${tab}`}
            tabIndex={shown === tab ? 0 : -1}
            onClick={() => setSide(tab)}
            className="flex min-h-8 items-center gap-1.5 rounded-control px-2.5 text-sm text-text-muted hover:bg-surface-hover aria-selected:bg-accent-quiet aria-selected:text-accent pointer-coarse:min-h-11"
          >
            {tab === "both" ? (
              <Columns2 {...icon} />
            ) : tab === "chat" ? (
              <MessageSquare {...icon} />
            ) : (
              <PenLine {...icon} />
            )}
            {tab === "both" ? "Both" : tab === "chat" ? "Chat" : "Text"}
          </button>
        ))}
      </div>
      <div className="flex min-h-0 flex-1">
        <div
          role="tabpanel"
          id={`${id}-panel-chat`}
          aria-label="Chat"
          className={cx("min-h-0 min-w-0 flex-col", shown === "draft" ? "hidden" : "flex")}
          style={shown === "both" ? { width: `${share}%` } : { flex: 1 }}
        >
          {chat}
        </div>
        {shown === "both" && <Divider share={share} onMove={setShare} whole={whole} />}
        <div
          role="tabpanel"
          id={`${id}-panel-draft`}
          aria-label="Text"
          className={cx("min-h-0 min-w-0 flex-1 flex-col", shown === "chat" ? "hidden" : "flex")}
        >
          <TextSide draft={draft} {...slots} />
        </div>
      </div>
    </div>
  );
}

const icon = { size: 16, strokeWidth: 1.5, "aria-hidden": true } as const;

function TitleBar({
  draft,
  onGone,
  shareDialog,
  children,
}: { draft: Draft; children: ReactNode } & Pick<Slots, "onGone" | "shareDialog">) {
  const [isSharing, setSharing] = useState(false);
  const [typed, setTyped] = useState<string>(); // while the title is edited
  const client = useQueryClient();
  const { say, offerUndo } = useToast();
  const rename = async (title: string) => {
    if (title.trim() === (draft.title ?? "")) return;
    try {
      const { title: stored, revision, updated_at } = await renameDraft(draft, title.trim());
      client.setQueryData<Draft>(
        ["draft", draft.id],
        (known) => known && { ...known, title: stored, revision, updated_at },
      );
    } catch (error) {
      say(wordsFor(error));
      if (error instanceof ApiError && error.status === 409)
        await client.invalidateQueries({ queryKey: ["draft", draft.id] });
    }
  };
  const remove = async () => {
    try {
      await deleteDraft(draft.id);
      offerUndo(
        "The draft is in the trash.",
        () => void restoreDraft(draft.id).catch((error) => say(wordsFor(error))),
      );
      onGone();
    } catch (error) {
      say(wordsFor(error));
    }
  };
  return (
    <header className="flex min-h-14 items-center gap-2 border-hairline border-b px-3">
      {children}
      <input
        aria-label="Title of the draft"
        value={typed ?? draft.title ?? ""}
        placeholder="Untitled"
        maxLength={255}
        readOnly={draft.owner !== null}
        onChange={(event) => setTyped(event.target.value)}
        onBlur={() => {
          if (typed !== undefined) void rename(typed);
          setTyped(undefined);
        }}
        onKeyDown={(event) => event.key === "Enter" && event.currentTarget.blur()}
        className="min-h-9 min-w-0 flex-1 rounded-control bg-transparent px-1 font-semibold text-md outline-none placeholder:text-text-muted hover:bg-surface-hover focus:bg-surface-quiet"
      />
      {draft.owner && <span className="shrink-0 text-sm text-text-muted">{draft.owner.name}’s draft</span>}
      {draft.permissions.can_share && (
        <IconButton label="Share the draft" onClick={() => setSharing(true)}>
          <Share2 size={18} strokeWidth={1.5} aria-hidden />
        </IconButton>
      )}
      {!draft.owner && (
        <IconButton label="Delete the draft" onClick={() => void remove()}>
          <Trash2 size={18} strokeWidth={1.5} aria-hidden />
        </IconButton>
      )}
      {isSharing && shareDialog(() => setSharing(false))}
    </header>
  );
}
