import { useQuery, useQueryClient } from "@tanstack/react-query";
import {
  BookOpen,
  ClipboardType,
  Copy,
  Download,
  History,
  ListTree,
  MoreHorizontal,
  Printer,
  Tag,
  Users,
} from "lucide-react";
import { type ReactNode, useEffect, useMemo, useState } from "react";
import { downloadFile } from "@/api/download";
import { wordsFor } from "@/api/words";
import { wholeNumber } from "@/lib/dates";
import { Button, IconButton } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { Menu } from "@/ui/menu";
import { SidePanel } from "@/ui/side-panel";
import { useToast } from "@/ui/toast";
import { useMedia } from "@/ui/use-media";
import { toCharacters, toUnits } from "../characters";
import { type Selection, useDraftEditor } from "../hooks/use-draft-editor";
import { liveEdits } from "../live-edits";
import {
  askForEdits,
  type Deciding,
  type Draft,
  decideEdits,
  getAuthorship,
  nameVersion,
  proposalsQuery,
  restoreVersion,
} from "../queries";
import { authorsOf, copyRich, headingsOf, WORDS } from "../reading";
import { AskBar } from "./ask-bar";
import { CompareVersions } from "./compare-versions";
import { NameDialog } from "./name-dialog";
import { OverlapDialog } from "./overlap-dialog";
import { SavingWords } from "./saving-words";
import { VersionsPanel } from "./versions-panel";

export type Props = {
  draft: Draft;
  chatId: string | undefined; // the ask bar
  markdown: (text: string) => ReactNode;
  choice: { provider: string; model_name: string } | undefined;
  modelChoice: ReactNode;
  stopRun: (runId: string) => void;
  replyText: (runId: string, onText: (text: string) => void) => ReactNode;
};
type Shown = "write" | "both" | "read";

const icon = { size: 16, strokeWidth: 1.5, "aria-hidden": true } as const;

/** The text of a draft: editor and preview, proposals, versions and authorship. */
export function TextSide(props: Props) {
  const { draft, chatId, markdown, choice, modelChoice, stopRun, replyText } = props;
  const canWrite = draft.permissions.can_write;
  const client = useQueryClient();
  const { say } = useToast();
  const isWide = useMedia("(min-width: 64rem)");
  const [shown, setShown] = useState<Shown>("write");
  const [isNaming, setNaming] = useState(false);
  const [isPanelOpen, setPanelOpen] = useState(false);
  const [compared, setCompared] = useState<{ number: number; against: number }>();
  const [isAsked, setAsked] = useState(true); // whether the conflict dialog is open
  const [areAuthorsShown, setAuthorsShown] = useState(false);
  const proposals = useQuery(proposalsQuery(draft.id));
  const newest = proposals.data?.items.find((item) => item.status !== "decided");
  const proposal = newest?.status === "failed" && newest !== proposals.data?.items[0] ? undefined : newest;
  const decide = async (deciding: Deciding, editIds?: string[]) => {
    if (!proposal || !saver || !editor) return;
    try {
      await saver.save();
      await saver.make(async () => (await decideEdits(proposal.id, deciding, editIds)).version);
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
    const open = canWrite && proposal?.status === "open" ? proposal.edits : [];
    const placed = open.filter((edit) => edit.place);
    const text = saver.stored; // positions refer to the text of the server
    const ends = placed.flatMap(({ place }) => (place ? [place.start, place.end] : []));
    const sorted = [...new Set(ends)].toSorted((first, other) => first - other);
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
  }, [editor, saver, proposal, canWrite]);
  const [reply, setReply] = useState("");
  const isWriting = proposal?.status === "writing";
  const selected = isWriting ? proposal.selection : null;
  useEffect(() => {
    if (!isWriting) setReply("");
  }, [isWriting]);
  useEffect(() => {
    if (!editor || !saver) return;
    if (!isWriting || !reply || !canWrite) return editor.setLive([]);
    let place: { start: number; end: number } | undefined;
    if (selected) {
      const [start = 0, end = start] = toUnits(saver.stored, [selected.start, selected.end]);
      place = { start, end };
    }
    // A preview only: the server places the edits when the reply is complete.
    editor.setLive(editor.text === saver.stored ? liveEdits(editor.text, reply, place) : []);
  }, [editor, saver, isWriting, reply, selected, canWrite]);
  const ask = async (instruction: string, where: Selection | undefined) => {
    if (!saver) return;
    const version_number = await saver.save();
    const text = saver.stored;
    // A merge during saving has moved the selection.
    const place = where && editor ? editor.selection : undefined;
    await askForEdits(draft.id, {
      instruction,
      version_number,
      ...(chatId ? { chat_id: chatId } : {}),
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
  const download = async (format: "markdown" | "html" | "docx") => {
    try {
      if (canWrite) await saver?.save();
      await downloadFile(`/drafts/${draft.id}/export?format=${format}`);
    } catch (error) {
      say(wordsFor(error));
    }
  };
  const nameVersionNow = async (name: string) => {
    setNaming(false);
    if (!saver || !name.trim()) return;
    try {
      await nameVersion(draft.id, await saver.save(), name.trim());
      await client.invalidateQueries({ queryKey: ["draft-versions", draft.id] });
      say(`Saved as “${name.trim()}”.`);
    } catch (error) {
      say(wordsFor(error));
    }
  };
  const headings = useMemo(() => headingsOf(text), [text]);
  const counts = useMemo(() => ({ words: text.match(WORDS)?.length ?? 0, characters: text.length }), [text]);
  const panel = (
    <VersionsPanel
      draftId={draft.id}
      canWrite={canWrite}
      currentNumber={saving.versionNumber}
      onCompare={(number, against) => setCompared({ number, against })}
      onRestore={async (number) => {
        await saver?.save();
        await saver?.make(() => restoreVersion(draft.id, number));
      }}
      onClose={() => setPanelOpen(false)}
    />
  );
  return (
    <div className="flex min-h-0 flex-1">
      <div className="flex min-w-0 flex-1 flex-col">
        <div className="flex min-h-10 flex-wrap items-center gap-1 border-hairline border-b px-3">
          {canWrite ? (
            <SavingWords
              saving={saving}
              onChoose={() => setAsked(true)}
              onSave={() => void saver?.save().catch(() => undefined)}
            />
          ) : (
            <span className="text-sm text-text-muted">Version {saving.versionNumber} · to read</span>
          )}
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
              ...(canWrite
                ? [
                    {
                      label: "Name this version …",
                      icon: <Tag {...icon} />,
                      onChoose: () => setNaming(true),
                    },
                  ]
                : []),
              {
                label: "Copy as rich text",
                icon: <ClipboardType {...icon} />,
                onChoose: () =>
                  void copyRich(draft.id, saver)
                    .then(() => say("Copied."))
                    .catch((error) => say(wordsFor(error))),
              },
              {
                label: "Copy as Markdown",
                icon: <Copy {...icon} />,
                onChoose: () =>
                  void navigator.clipboard
                    .writeText(editor?.text ?? "")
                    .then(() => say("Copied."))
                    .catch((error) => say(wordsFor(error))),
              },
              {
                label: "Download as Markdown",
                icon: <Download {...icon} />,
                onChoose: () => void download("markdown"),
              },
              {
                label: "Download as a web page",
                icon: <Download {...icon} />,
                onChoose: () => void download("html"),
              },
              {
                label: "Download for Word (.docx)",
                icon: <Download {...icon} />,
                onChoose: () => void download("docx"),
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
        {!canWrite && saver?.unsent && (
          <p role="status" className="flex flex-wrap items-center gap-3 border-hairline border-b px-4 py-2">
            You typed something here that was not sent, and may not write any more.
            <Button
              onClick={() =>
                void navigator.clipboard
                  .writeText(saver.unsent ?? "")
                  .then(() => say("Copied."))
                  .catch((error) => say(wordsFor(error)))
              }
            >
              Copy it
            </Button>
          </p>
        )}
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
        {canWrite && proposal?.run_id && isWriting && replyText(proposal.run_id, setReply)}
        {canWrite && (
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
        )}
      </div>
      {isPanelOpen && (
        <SidePanel label="Versions" onClose={() => setPanelOpen(false)}>
          {panel}
        </SidePanel>
      )}
      {isNaming && (
        <NameDialog onName={(name) => void nameVersionNow(name)} onClose={() => setNaming(false)} />
      )}
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
