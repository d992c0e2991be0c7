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
import type { Schemas } from "@/api/client";
import { wordsFor } from "@/api/words";
import { wholeNumber } from "@/lib/dates";
import { Button, IconButton } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { Dialog } from "@/ui/dialog";
import { Field } from "@/ui/field";
import { Menu } from "@/ui/menu";
import { Sheet } from "@/ui/sheet";
import { useToast } from "@/ui/toast";
import { useMedia } from "@/ui/use-media";
import { toCharacters, toUnits } from "../characters";
import type { Authored } from "../editor";
import { type Selection, useDraftEditor } from "../hooks/use-draft-editor";
import { liveEdits } from "../live-edits";
import {
  askForEdits,
  type Deciding,
  type Draft,
  decideEdits,
  getAuthorship,
  getRichText,
  nameVersion,
  proposalsQuery,
  type RichText,
  restoreVersion,
} from "../queries";
import type { Saver, Saving } from "../saver";
import { AskBar } from "./ask-bar";
import { CompareVersions } from "./compare-versions";
import { OverlapDialog } from "./overlap-dialog";
import { VersionsPanel } from "./versions-panel";

export type Props = {
  draft: Draft;
  chatId: string | undefined; // where a change is asked for
  markdown: (text: string) => ReactNode;
  choice: { provider: string; model_name: string } | undefined;
  modelChoice: ReactNode;
  stopRun: (runId: string) => void;
  replyText: (runId: string, onText: (text: string) => void) => ReactNode;
};
type Shown = "write" | "both" | "read";

const icon = { size: 16, strokeWidth: 1.5, "aria-hidden": true } as const;

/** The text of a draft: written and read, with what a model proposes, its versions, and who wrote what. */
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
  const [isAsked, setAsked] = useState(true); // whether the overlap is on the screen
  const [areAuthorsShown, setAuthorsShown] = useState(false);
  const proposals = useQuery(proposalsQuery(draft.id));
  const newest = proposals.data?.items.find((one) => one.status !== "decided");
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
  }, [editor, saver, proposal, canWrite]);
  const [reply, setReply] = useState("");
  const isWriting = proposal?.status === "writing";
  const selected = isWriting ? proposal.selection : null;
  useEffect(() => {
    if (!isWriting) setReply("");
  }, [isWriting]);
  useEffect(() => {
    if (!editor || !saver) return;
    if (!isWriting || !reply) return editor.setLive([]);
    let place: { start: number; end: number } | undefined;
    if (selected) {
      const [start = 0, end = start] = toUnits(saver.stored, [selected.start, selected.end]);
      place = { start, end };
    }
    // Shown where it is only while nothing else moves the text: the server places it for good when it is whole.
    editor.setLive(editor.text === saver.stored ? liveEdits(editor.text, reply, place) : []);
  }, [editor, saver, isWriting, reply, selected]);
  const ask = async (instruction: string, where: Selection | undefined) => {
    if (!saver) return;
    const version_number = await saver.save();
    const text = saver.stored;
    // What came from elsewhere with the save has moved the selection along.
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
      open(`/api/v1/drafts/${draft.id}/export?format=${format}`, "_self");
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
                  void navigator.clipboard.writeText(editor?.text ?? "").then(() => say("Copied.")),
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
        {proposal?.run_id && isWriting && replyText(proposal.run_id, setReply)}
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

function NameDialog({ onName, onClose }: { onName: (name: string) => void; onClose: () => void }) {
  const [name, setName] = useState("");
  return (
    <Dialog title="Name this version" isOpen onClose={onClose}>
      <form
        className="flex flex-col gap-3"
        onSubmit={(event) => {
          event.preventDefault();
          onName(name);
        }}
      >
        <Field
          label="Name"
          hint="What is typed becomes a version, and is found by this name in the tree."
          value={name}
          maxLength={255}
          onChange={(event) => setName(event.target.value)}
        />
        <Button look="primary" type="submit" disabled={!name.trim()} className="self-end">
          Save
        </Button>
      </form>
    </Dialog>
  );
}

/** The text as other programs take it: with its headings, lists and links, and as Markdown for those that cannot. */
async function copyRich(draftId: string, saver: Saver | undefined): Promise<void> {
  const made = (async () => {
    await saver?.save();
    return getRichText(draftId);
  })();
  // Given as a promise, since the click is over when the server has answered.
  const as = (type: string, take: (rich: RichText) => string) =>
    made.then((rich) => new Blob([take(rich)], { type }));
  await navigator.clipboard.write([
    new ClipboardItem({
      "text/html": as("text/html", (rich) => rich.html),
      "text/plain": as("text/plain", (rich) => rich.content),
    }),
  ]);
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
