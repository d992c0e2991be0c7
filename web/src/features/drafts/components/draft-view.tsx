import { useQuery, useQueryClient, useSuspenseQuery } from "@tanstack/react-query";
import {
  BookOpen,
  Columns2,
  Copy,
  Download,
  History,
  ListTree,
  MessageSquare,
  MoreHorizontal,
  PenLine,
  Printer,
  Trash2,
  Users,
} from "lucide-react";
import { type ReactNode, useEffect, useMemo, useRef, useState } from "react";
import { ApiError, type Schemas } from "@/api/client";
import { wordsFor } from "@/api/words";
import { wholeNumber } from "@/lib/dates";
import { Button, IconButton } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { Menu } from "@/ui/menu";
import { Sheet } from "@/ui/sheet";
import { useToast } from "@/ui/toast";
import { useMedia } from "@/ui/use-media";
import { toCharacters, toUnits } from "../characters";
import type { Authored } from "../editor";
import { type Selection, useDraftEditor } from "../hooks/use-draft-editor";
import {
  askForEdits,
  type Deciding,
  type Draft,
  decideEdits,
  deleteDraft,
  draftQuery,
  getAuthorship,
  proposalsQuery,
  renameDraft,
  restoreDraft,
} from "../queries";
import type { Saving } from "../saver";
import { AskBar } from "./ask-bar";
import { CompareVersions } from "./compare-versions";
import { Divider, useDivided } from "./divider";
import { OverlapDialog } from "./overlap-dialog";
import { VersionsPanel } from "./versions-panel";

type Slots = {
  menuButton: ReactNode;
  chat: ReactNode;
  markdown: (text: string) => ReactNode;
  choice: { provider: string; model_name: string } | undefined;
  modelChoice: ReactNode;
  stopRun: (runId: string) => void;
  onGone: () => void;
};
type Shown = "write" | "both" | "read";
type Side = "chat" | "draft" | "both";

/** A draft: the conversation on the left, the text on the right; on a phone one of them. */
export function DraftView({ draftId, ...slots }: { draftId: string } & Slots) {
  const { data: draft } = useSuspenseQuery({ ...draftQuery(draftId), refetchOnWindowFocus: false });
  return <Sides key={draftId} draft={draft} {...slots} />;
}

function Sides({ draft, ...slots }: { draft: Draft } & Slots) {
  const { menuButton, chat } = slots;
  const isWide = useMedia("(min-width: 64rem)");
  const [side, setSide] = useState<Side>("both");
  const [share, setShare] = useDivided();
  const whole = useRef<HTMLDivElement>(null);
  const shown = isWide ? side : side === "both" ? "draft" : side;
  useEffect(() => {
    document.title = `${draft.title || "Untitled"} · Tertulia`;
  });
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
      >
        {(isWide ? (["both", "chat", "draft"] as const) : (["chat", "draft"] as const)).map((one) => (
          <button
            key={one}
            type="button"
            role="tab"
            aria-selected={shown === one}
            onClick={() => setSide(one)}
            className="flex min-h-8 items-center gap-1.5 rounded-control px-2.5 text-sm text-text-muted hover:bg-surface-hover aria-selected:bg-accent-quiet aria-selected:text-accent pointer-coarse:min-h-11"
          >
            {one === "both" ? (
              <Columns2 {...icon} />
            ) : one === "chat" ? (
              <MessageSquare {...icon} />
            ) : (
              <PenLine {...icon} />
            )}
            {one === "both" ? "Both" : one === "chat" ? "Chat" : "Text"}
          </button>
        ))}
      </div>
      <div className="flex min-h-0 flex-1">
        <div
          className={cx("min-h-0 min-w-0 flex-col", shown === "draft" ? "hidden" : "flex")}
          style={shown === "both" ? { width: `${share}%` } : { flex: 1 }}
        >
          {chat}
        </div>
        {shown === "both" && <Divider share={share} onMove={setShare} whole={whole} />}
        <div className={cx("min-h-0 min-w-0 flex-1 flex-col", shown === "chat" ? "hidden" : "flex")}>
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
  children,
}: { draft: Draft; children: ReactNode } & Pick<Slots, "onGone">) {
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
        key={draft.title}
        aria-label="Title of the draft"
        defaultValue={draft.title ?? ""}
        placeholder="Untitled"
        maxLength={255}
        onBlur={(event) => void rename(event.target.value)}
        onKeyDown={(event) => event.key === "Enter" && event.currentTarget.blur()}
        className="min-h-9 min-w-0 flex-1 rounded-control bg-transparent px-1 font-semibold text-md outline-none placeholder:text-text-muted hover:bg-surface-hover focus:bg-surface-quiet"
      />
      <IconButton label="Delete the draft" onClick={() => void remove()}>
        <Trash2 size={18} strokeWidth={1.5} aria-hidden />
      </IconButton>
    </header>
  );
}

function TextSide({ draft, markdown, choice, modelChoice, stopRun }: { draft: Draft } & Slots) {
  const client = useQueryClient();
  const { say } = useToast();
  const isWide = useMedia("(min-width: 64rem)");
  const [shown, setShown] = useState<Shown>("write");
  const [isPanelOpen, setPanelOpen] = useState(false);
  const [compared, setCompared] = useState<{ number: number; against: number }>();
  const [isAsked, setAsked] = useState(true); // whether the overlap is on the screen
  const [areAuthorsShown, setAuthorsShown] = useState(false);
  const proposals = useQuery(proposalsQuery(draft.id));
  const newest = proposals.data?.items.find((one) => one.status !== "decided");
  const proposal = newest?.status === "failed" && newest !== proposals.data?.items[0] ? undefined : newest;
  const decide = async (deciding: Deciding, editIds?: string[]) => {
    if (!proposal || !saver || !editor) return;
    try {
      await saver.save();
      const { version } = await decideEdits(proposal.id, deciding, editIds);
      if (version) await saver.adopt(version);
      await client.invalidateQueries({ queryKey: ["draft-proposals", draft.id] });
    } catch (error) {
      say(wordsFor(error));
    }
  };
  const { place, editor, saver, saving, text, selection } = useDraftEditor(
    draft,
    (editId, deciding) => void decide(deciding, [editId]),
  );
  useEffect(() => {
    if (!editor || !saver) return;
    const open = proposal?.status === "open" ? proposal.edits : [];
    const placed = open.filter((edit) => edit.place);
    const text = saver.stored; // the places are in what the server has
    const ends = placed.flatMap(({ place }) => (place ? [place.start, place.end] : []));
    const sorted = [...new Set(ends)].toSorted((one, other) => one - other);
    const units = new Map(toUnits(text, sorted).map((at, index) => [sorted[index], at]));
    editor.setEdits(
      text,
      placed.map(({ id, place, old_text, new_text }) => ({
        id,
        start: units.get(place?.start) ?? 0,
        end: units.get(place?.end) ?? 0,
        oldText: old_text,
        newText: new_text,
      })),
    );
  }, [editor, saver, proposal]);
  const ask = async (instruction: string, where: Selection | undefined) => {
    if (!saver) return;
    const version_number = await saver.save();
    const text = saver.stored;
    // What came from elsewhere with the save has moved the selection along.
    const place = where && editor ? editor.selection : undefined;
    await askForEdits(draft.id, {
      instruction,
      version_number,
      ...(place
        ? { selection: { start: toCharacters(text, place.start), end: toCharacters(text, place.end) } }
        : {}),
      ...(choice ?? {}),
    });
    await client.invalidateQueries({ queryKey: ["draft-proposals", draft.id] });
  };
  const showAuthors = async () => {
    if (areAuthorsShown || !saver || !editor) {
      editor?.setAuthors("", undefined);
      setAuthorsShown(false);
      return;
    }
    try {
      const number = await saver.save();
      const text = saver.stored;
      editor.setAuthors(text, authorsOf(text, await getAuthorship(draft.id, number)));
      setAuthorsShown(true);
    } catch (error) {
      say(wordsFor(error));
    }
  };
  const headings = useMemo(() => headingsOf(text), [text]);
  const counts = useMemo(() => ({ words: text.match(WORDS)?.length ?? 0, characters: text.length }), [text]);
  const panel = (
    <VersionsPanel
      draftId={draft.id}
      currentNumber={saving.versionNumber}
      onCompare={(number, against) => setCompared({ number, against })}
      beforeRestore={async () => saver?.save()}
      onRestored={(version) => void saver?.adopt(version)}
      onClose={() => setPanelOpen(false)}
    />
  );
  return (
    <div className="flex min-h-0 flex-1">
      <div className="flex min-w-0 flex-1 flex-col">
        <div className="flex min-h-10 flex-wrap items-center gap-1 border-hairline border-b px-3">
          <SavingWords
            saving={saving}
            onChoose={() => setAsked(true)}
            onSave={() => void saver?.save().catch(() => undefined)}
          />
          <span className="ml-auto hidden text-sm text-text-muted tabular-nums sm:inline">
            {wholeNumber(counts.words)} words · {wholeNumber(counts.characters)} characters
          </span>
          {headings.length > 0 && (
            <Menu
              trigger={
                <IconButton label="Outline">
                  <ListTree size={18} strokeWidth={1.5} aria-hidden />
                </IconButton>
              }
              entries={headings.map((heading) => ({
                label: `${"  ".repeat(heading.level - 1)}${heading.words}`,
                onChoose: () => setTimeout(() => editor?.showPlace(heading.at)),
              }))}
            />
          )}
          <IconButton
            label="Who wrote what"
            aria-pressed={areAuthorsShown}
            className="aria-pressed:bg-accent-quiet aria-pressed:text-accent"
            onClick={() => void showAuthors()}
          >
            <Users size={18} strokeWidth={1.5} aria-hidden />
          </IconButton>
          <IconButton
            label={shown === "read" ? "Write" : "Read"}
            aria-pressed={shown !== "write"}
            className="aria-pressed:bg-accent-quiet aria-pressed:text-accent"
            onClick={() =>
              setShown(shown === "write" ? (isWide ? "both" : "read") : shown === "both" ? "read" : "write")
            }
          >
            <BookOpen size={18} strokeWidth={1.5} aria-hidden />
          </IconButton>
          <IconButton
            label="Versions"
            aria-pressed={isPanelOpen}
            className="aria-pressed:bg-accent-quiet aria-pressed:text-accent"
            onClick={() => setPanelOpen(!isPanelOpen)}
          >
            <History size={18} strokeWidth={1.5} aria-hidden />
          </IconButton>
          <Menu
            trigger={
              <IconButton label="More">
                <MoreHorizontal size={18} strokeWidth={1.5} aria-hidden />
              </IconButton>
            }
            entries={[
              {
                label: "Copy as Markdown",
                icon: <Copy {...icon} />,
                onChoose: () =>
                  void navigator.clipboard.writeText(editor?.text ?? "").then(() => say("Copied.")),
              },
              {
                label: "Download as Markdown",
                icon: <Download {...icon} />,
                onChoose: () => download(`${draft.title || "Untitled"}.md`, editor?.text ?? ""),
              },
              {
                label: "Print or save as PDF",
                icon: <Printer {...icon} />,
                onChoose: () => {
                  setShown("read");
                  setTimeout(() => print(), 300);
                },
              },
            ]}
          />
        </div>
        {areAuthorsShown && (
          <p className="flex gap-4 border-hairline border-b px-4 py-1 text-sm text-text-muted">
            <span className="border-person border-b-2">written by a person</span>
            <span className="border-model border-b-2">taken from a model</span>
          </p>
        )}
        <div className="flex min-h-0 flex-1">
          <div ref={place} className={cx("min-h-0 min-w-0 flex-1", shown === "read" && "hidden")} />
          {shown !== "write" && (
            <section
              aria-label="The draft as it reads"
              // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
              tabIndex={0}
              className="print-alone min-h-0 min-w-0 flex-1 overflow-y-auto border-hairline border-l px-6 py-6"
            >
              <h2 className="sr-only">As it reads</h2>
              <div className="mx-auto max-w-read font-serif text-read">{markdown(text)}</div>
            </section>
          )}
        </div>
        <AskBar
          draftId={draft.id}
          text={text}
          selection={selection}
          proposal={proposal}
          openEdits={proposal?.edits.filter((edit) => edit.place).length ?? 0}
          onAsk={ask}
          onDecideAll={(deciding) => void decide(deciding)}
          onStep={(by) => void editor?.stepEdit(by)}
          onStop={() => proposal?.run_id && stopRun(proposal.run_id)}
          modelChoice={modelChoice}
        />
      </div>
      {isPanelOpen &&
        (isWide ? (
          <aside
            aria-label="Versions"
            className="flex w-(--spacing-panel) shrink-0 flex-col border-hairline border-l"
          >
            {panel}
          </aside>
        ) : (
          <Sheet title="Versions" side="right" isOpen onClose={() => setPanelOpen(false)} hasTitle={false}>
            {panel}
          </Sheet>
        ))}
      {compared && (
        <CompareVersions
          key={`${compared.number}-${compared.against}`}
          draftId={draft.id}
          newest={saving.versionNumber}
          {...compared}
          onClose={() => setCompared(undefined)}
        />
      )}
      {saving.overlap && isAsked && (
        <OverlapDialog
          key={JSON.stringify(saving.overlap.merged).length + saving.overlap.sent.length}
          merged={saving.overlap.merged}
          onClose={() => setAsked(false)}
          onResolve={(chosen) => void saver?.resolve(chosen).catch((error) => say(wordsFor(error)))}
        />
      )}
    </div>
  );
}

function SavingWords({
  saving,
  onChoose,
  onSave,
}: {
  saving: Saving;
  onChoose: () => void;
  onSave: () => void;
}) {
  if (saving.overlap)
    return (
      <Button className="text-warning" onClick={onChoose}>
        Changed twice: choose
      </Button>
    );
  const words = {
    saved: `Version ${saving.versionNumber}`,
    stored: "Stored",
    storing: "Storing …",
    offline: "Not connected; kept here",
    failed: saving.problem ?? "Not saved",
  }[saving.state];
  return (
    <>
      <span
        role="status"
        className={cx(
          "text-sm",
          saving.state === "failed" || saving.state === "offline" ? "text-warning" : "text-text-muted",
        )}
      >
        {words}
      </span>
      {saving.state !== "saved" && (
        <Button look="plain" className="text-sm" title="Ctrl S" onClick={onSave}>
          Save a version
        </Button>
      )}
    </>
  );
}

const WORDS = /[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*/gu;

function headingsOf(text: string): { level: number; words: string; at: number }[] {
  return [...text.matchAll(/^(#{1,6}) +(.+)$/gm)]
    .slice(0, 100)
    .map((found) => ({ level: found[1]?.length ?? 1, words: found[2] ?? "", at: found.index }));
}

/** Each stretch of a version's text with who wrote it, by the version that it came with. */
function authorsOf(text: string, { items, versions }: Schemas["Authorship"]): Authored[] {
  const known = new Map(versions.map((one) => [one.version_number, one]));
  let counted = 0;
  const ends = toUnits(
    text,
    items.map(({ length }) => {
      counted += length;
      return counted;
    }),
  );
  return items.map(({ version_number }, index) => {
    const origin = known.get(version_number);
    const isModels = origin !== undefined && origin.generation_source !== "user";
    const who = isModels ? (origin.model_name ?? "A model") : (origin?.author?.name ?? "A person");
    return {
      length: (ends[index] ?? 0) - (ends[index - 1] ?? 0),
      who: isModels ? "model" : "person",
      words: `${who}, version ${version_number}`,
    };
  });
}

function download(name: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "text/markdown" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name.replace(/[/\\:*?"<>|]/g, "-");
  link.click();
  URL.revokeObjectURL(url);
}
