import { ArrowUp, Check, Wand, X } from "lucide-react";
import { type ReactNode, useRef, useState } from "react";
import { wordsFor } from "@/api/words";
import { wholeNumber } from "@/lib/dates";
import { keepText, readKeptText } from "@/lib/kept-text";
import { dollars } from "@/lib/money";
import { Button, IconButton } from "@/ui/button";
import { Menu } from "@/ui/menu";
import { Problem } from "@/ui/problem";
import type { Selection } from "../hooks/use-draft-editor";
import type { Proposal } from "../queries";

const QUICK = [
  { label: "Shorten", words: "Make this shorter and keep what it says." },
  {
    label: "Fix spelling and grammar",
    words: "Correct spelling, grammar and punctuation. Change nothing else.",
  },
  { label: "Make it clearer", words: "Make this clearer and easier to read, in the same voice." },
  { label: "Continue", words: "Go on from here in the same voice, by a paragraph or two.", isAtCursor: true },
  { label: "Turn into a letter", words: "Turn this into a letter." },
  { label: "Translate into English", words: "Translate this into English." },
];

type Props = {
  draftId: string;
  text: string;
  selection: Selection;
  proposal: Proposal | undefined;
  openEdits: number;
  onAsk: (instruction: string, selection: Selection | undefined) => Promise<void>;
  onDecideAll: (deciding: "accept" | "reject") => void;
  onStep: (by: 1 | -1) => void;
  onStop: () => void;
  modelChoice: ReactNode;
};

/** Ask a model for a change, and decide on its proposals. */
export function AskBar(props: Props) {
  const { draftId, text, selection, proposal, openEdits } = props;
  const place = `draft-ask.${draftId}`;
  const [typed, setTyped] = useState(() => readKeptText(place));
  const [problem, setProblem] = useState<string>();
  const [isAsking, setAsking] = useState(false);
  const box = useRef<HTMLTextAreaElement>(null);
  const chosen = selection.start < selection.end ? selection : undefined;
  const type = (words: string) => {
    setTyped(words);
    keepText(place, words);
  };
  const ask = async (instruction: string, where: Selection | undefined) => {
    setProblem(undefined);
    setAsking(true);
    try {
      await props.onAsk(instruction, where);
      if (instruction === typed.trim()) type("");
    } catch (error) {
      setProblem(wordsFor(error));
    } finally {
      setAsking(false);
    }
  };
  const send = () => {
    if (typed.trim()) void ask(typed.trim(), chosen);
  };
  const isWriting = proposal?.status === "writing";
  return (
    <section aria-label="Changes by a model" className="border-hairline border-t bg-surface px-4 py-2">
      {isWriting && (
        <div role="status" className="flex min-h-9 items-center gap-2 text-text-muted">
          <span className="shimmer min-w-0 flex-1 truncate">
            {proposal.model_name ?? "The model"} is writing: {proposal.instruction}
          </span>
          <Button onClick={props.onStop}>Stop</Button>
        </div>
      )}
      {proposal?.status === "open" && (
        <div className="flex flex-wrap items-center gap-2 pb-2">
          <p role="status" className="min-w-0 flex-1 basis-52 text-sm">
            <span className="font-medium">
              {openEdits === 1 ? "1 change proposed" : `${wholeNumber(openEdits)} changes proposed`}
            </span>{" "}
            <span className="text-text-muted tabular-nums">{costWords(proposal)}</span>
            {proposal.problem && <span className="block text-warning">{proposal.problem}</span>}
            {openEdits < proposal.edits.filter((edit) => edit.status === "open").length && (
              <span className="block text-warning">Some no longer fit the text as it is now.</span>
            )}
          </p>
          {openEdits > 1 && (
            <Button look="plain" title="The next change (F8)" onClick={() => props.onStep(1)}>
              Next
            </Button>
          )}
          <Button onClick={() => props.onDecideAll("reject")}>
            <X size={14} strokeWidth={1.5} aria-hidden /> Reject all
          </Button>
          <Button look="primary" disabled={openEdits === 0} onClick={() => props.onDecideAll("accept")}>
            <Check size={14} strokeWidth={1.5} aria-hidden /> Accept all
          </Button>
        </div>
      )}
      {proposal?.status === "failed" && <p className="pb-2 text-sm text-warning">{proposal.problem}</p>}
      <Problem className="pb-2 text-sm" words={problem} />
      <div className="flex items-end gap-2">
        <Menu
          trigger={
            <IconButton label="Quick changes" disabled={isAsking || isWriting}>
              <Wand size={18} strokeWidth={1.5} aria-hidden />
            </IconButton>
          }
          entries={QUICK.filter((item) => text || item.isAtCursor).map((item) => ({
            label: item.label,
            onChoose: () =>
              void ask(
                item.words,
                chosen ?? (item.isAtCursor ? { start: selection.end, end: selection.end } : undefined),
              ),
          }))}
        />
        <textarea
          ref={box}
          rows={1}
          value={typed}
          maxLength={10_000}
          aria-label={chosen ? "Ask for a change of what is selected" : "Ask for a change of the draft"}
          placeholder={
            chosen
              ? `Change the selected ${wholeNumber(chosen.end - chosen.start)} characters …`
              : text
                ? "Ask for a change …"
                : "What shall it be about?"
          }
          onChange={(event) => type(event.target.value)}
          onKeyDown={(event) => {
            if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
            event.preventDefault();
            send();
          }}
          className="field-sizing-content max-h-40 min-h-9 min-w-0 flex-1 resize-none rounded-control border border-hairline-strong bg-surface-raised px-3 py-1.5"
        />
        <span className="hidden sm:inline">{props.modelChoice}</span>
        <IconButton label="Ask" disabled={!typed.trim() || isAsking || isWriting} onClick={send}>
          <ArrowUp size={18} strokeWidth={1.5} aria-hidden />
        </IconButton>
      </div>
    </section>
  );
}

function costWords(proposal: Proposal): string {
  const parts = [proposal.model_name];
  if (proposal.total_tokens !== null) parts.push(`${wholeNumber(proposal.total_tokens)} tokens`);
  if (proposal.cost !== null) parts.push(dollars(proposal.cost));
  return parts.filter(Boolean).join(" · ");
}
