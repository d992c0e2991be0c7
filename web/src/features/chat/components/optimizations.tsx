import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { wordsFor } from "@/api/words";
import { relativeTime, wholeNumber } from "@/lib/dates";
import { dollars } from "@/lib/money";
import { Button } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { TextField } from "@/ui/field";
import { Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import {
  type Chat,
  chatQuery,
  contextQuery,
  editSummary,
  newestShown,
  type Optimization,
  optimizationsQuery,
  optimizeNow,
  summaryForecastQuery,
  undoOptimization,
  undoOptimizations,
  updateChat,
} from "../queries";

type Kind = Optimization["optimization_type"];

const WHEN_FULL = [
  { value: "truncation", label: "Leave the oldest out" },
  { value: "compression", label: "Say the same in fewer words, then leave the oldest out" },
  { value: "summarization", label: "Tell the oldest by a summary" },
];
const WHAT: Record<Kind, string> = {
  truncation: "The oldest left out",
  compression: "Repetitions taken out",
  summarization: "The oldest told by a summary",
};
const REASON: Record<Optimization["trigger_reason"], string> = {
  token_limit: "the window was full",
  auto: "the window was as full as you said",
  user_request: "you wanted it",
};

/** The share of the window at which compaction starts automatically. 1: only when it is full. */
const WHEN = [
  { value: "1", label: "When it is full" },
  { value: "0.75", label: "At three quarters" },
  { value: "0.5", label: "At half" },
];

/** The compactions of a chat and the actions for new ones. `applied`: the ids that apply to the shown branch. */
export function Optimizations({
  chatId,
  canWrite,
  applied,
}: {
  chatId: string;
  canWrite: boolean;
  applied: readonly string[];
}) {
  const client = useQueryClient();
  const { say } = useToast();
  const { data: chat } = useQuery(chatQuery(chatId));
  const { data: compactions, error } = useQuery(optimizationsQuery(chatId));
  const [busy, setBusy] = useState<Kind>();
  const refresh = async () => {
    await client.invalidateQueries(optimizationsQuery(chatId));
    await client.invalidateQueries(contextQuery(chatId));
  };
  const optimize = async (kind: Kind) => {
    setBusy(kind);
    try {
      await optimizeNow(chatId, kind, newestShown(client, chatId));
      await refresh();
    } catch (problem) {
      say(wordsFor(problem));
    }
    setBusy(undefined);
  };
  const choose = async (settings: Partial<Chat["settings"]>) => {
    try {
      client.setQueryData(chatQuery(chatId).queryKey, await updateChat(chatId, { settings }));
    } catch (problem) {
      say(wordsFor(problem));
    }
  };
  const undoAll = async () => {
    try {
      await undoOptimizations(chatId);
      say("All is undone. What fits is sent again.");
      await refresh();
    } catch (problem) {
      say(wordsFor(problem));
    }
  };
  const active = compactions?.filter((item) => !item.reverted_at) ?? [];
  const here = active.filter((item) => applied.includes(item.id));
  const elsewhere = active.length - here.length;
  const undone = (compactions?.length ?? 0) - active.length;
  return (
    <section aria-label="Compaction" className="flex flex-col gap-3 border-hairline border-b py-4">
      {canWrite && chat && !chat.owner && (
        <>
          <Choice
            label="When the window is full"
            showLabel
            value={chat.settings.when_full ?? "truncation"}
            options={WHEN_FULL}
            onChoose={(chosen) => void choose({ when_full: chosen as Kind })}
          />
          <Choice
            label="Begin with that"
            showLabel
            value={`${chat.settings.compact_at ?? 1}`}
            options={WHEN}
            onChoose={(chosen) => void choose({ compact_at: chosen === "1" ? null : Number(chosen) })}
          />
        </>
      )}
      {canWrite && (
        <div className="flex flex-wrap gap-2">
          <Button disabled={busy !== undefined} onClick={() => void optimize("summarization")}>
            {busy === "summarization" ? "Summarising …" : "Summarise the older half"}
          </Button>
          <Button disabled={busy !== undefined} onClick={() => void optimize("compression")}>
            Take repetitions out
          </Button>
          <Button disabled={busy !== undefined} onClick={() => void optimize("truncation")}>
            Leave the older half out
          </Button>
          <SummaryCost chatId={chatId} />
        </div>
      )}
      {error ? (
        <p className="text-danger">{wordsFor(error)}</p>
      ) : !compactions ? (
        <Lines widths={["w-2/3"]} />
      ) : (
        here.length > 0 && (
          <ul aria-label="What was made shorter, the newest first" className="flex flex-col gap-3">
            {here.map((item) => (
              <Made key={item.id} compaction={item} canWrite={canWrite} onChanged={refresh} />
            ))}
          </ul>
        )
      )}
      {elsewhere > 0 && (
        <p className="text-sm text-text-muted">
          {elsewhere === 1 ? "One more changes" : `${wholeNumber(elsewhere)} more change`} nothing here:
          something newer covers it, it is of another branch, or this model has a larger window.
        </p>
      )}
      {undone > 0 && (
        <p className="text-sm text-text-muted">
          {undone === 1 ? "One other was undone." : `${wholeNumber(undone)} others were undone.`}
        </p>
      )}
      {canWrite && active.length > 1 && (
        <Button look="plain" className="self-start" onClick={() => void undoAll()}>
          Undo all, and send everything again
        </Button>
      )}
    </section>
  );
}

/** The estimated cost of a summary, before it is requested. */
function SummaryCost({ chatId }: { chatId: string }) {
  const { data } = useQuery(summaryForecastQuery(chatId));
  if (!data?.requests) return null;
  const cost = data.cost === null ? "its cost is unknown" : `at most ${dollars(data.cost)}`;
  const models = data.requests === 1 ? data.model_name : `${data.model_name} ${data.requests} times`;
  return (
    <p className="basis-full text-sm text-text-muted">
      A summary asks {models} and sends about {wholeNumber(data.input_tokens)} tokens: {cost}.
    </p>
  );
}

function Made({
  compaction,
  canWrite,
  onChanged,
}: {
  compaction: Optimization;
  canWrite: boolean;
  onChanged: () => Promise<void>;
}) {
  const { say } = useToast();
  const [words, setWords] = useState<string>();
  const [problem, setProblem] = useState<string>();
  const undo = async () => {
    try {
      await undoOptimization(compaction.chat_id, compaction.id);
      say("It is undone. What fits is sent again.");
      await onChanged();
    } catch (error) {
      say(wordsFor(error));
    }
  };
  const save = async () => {
    try {
      await editSummary(compaction.chat_id, compaction.id, words ?? "");
      setWords(undefined);
      setProblem(undefined);
      await onChanged();
    } catch (error) {
      setProblem(wordsFor(error));
    }
  };
  return (
    <li className="rounded-card border border-hairline px-3 py-2">
      <p className="font-medium">{WHAT[compaction.optimization_type]}</p>
      <p className="text-sm text-text-muted tabular-nums">
        {wholeNumber(compaction.tokens_before)} tokens became {wholeNumber(compaction.tokens_after)}, as{" "}
        {REASON[compaction.trigger_reason]} · {relativeTime(compaction.created_at)}
        {costWords(compaction)}
      </p>
      {compaction.note && <p className="text-sm text-warning">{compaction.note}</p>}
      {compaction.is_superseded && (
        <p className="text-sm text-warning">
          A message that it tells of has changed. It is not sent any more, and made anew when it is needed.
        </p>
      )}
      {compaction.summary !== null &&
        (words === undefined ? (
          <details className="pt-1">
            <summary className="min-h-9 cursor-default py-1 text-sm">
              The summary{compaction.is_edited && ", as a person changed it"}
            </summary>
            <p className="max-h-72 overflow-y-auto whitespace-pre-wrap break-words">{compaction.summary}</p>
          </details>
        ) : (
          <div className="pt-2">
            <TextField
              label="The summary"
              hint="What the model is told in place of the messages."
              maxLength={20_000}
              value={words}
              error={problem}
              onChange={(event) => setWords(event.target.value)}
            />
          </div>
        ))}
      {canWrite && (
        <div className="flex flex-wrap gap-2 pt-2">
          {words === undefined ? (
            <>
              <Button onClick={() => void undo()}>Undo</Button>
              {compaction.summary !== null && (
                <Button look="plain" onClick={() => setWords(compaction.summary ?? "")}>
                  Change the words
                </Button>
              )}
            </>
          ) : (
            <>
              <Button look="primary" disabled={!words.trim()} onClick={() => void save()}>
                Save the summary
              </Button>
              <Button look="plain" onClick={() => setWords(undefined)}>
                Back
              </Button>
            </>
          )}
        </div>
      )}
    </li>
  );
}

/** Return the cost of a summary and after how many replies it pays off. */
export function costWords(compaction: Pick<Optimization, "cost" | "saved_cost">): string {
  const cost = Number(compaction.cost ?? 0);
  const saved = Number(compaction.saved_cost ?? 0);
  if (cost <= 0) return saved > 0 ? ` · saves ${dollars(saved)} with each reply` : "";
  if (saved <= 0) return ` · cost ${dollars(cost)}`;
  const replies = Math.ceil(cost / saved);
  return ` · cost ${dollars(cost)}, ${replies <= 1 ? "less than it saves with the next reply" : `which it saves with ${replies} replies`}`;
}

/** The line in a chat where a compaction ends. */
export function BoundaryLine({ kind }: { kind: Kind | undefined }) {
  if (!kind) return null;
  const words =
    kind === "summarization"
      ? "What stands before here is told to the model by a summary"
      : kind === "compression"
        ? "What stands before here is sent without its repetitions"
        : "What stands before here is not sent to the model";
  return (
    <p className="flex items-center gap-3 py-2 text-sm text-text-muted">
      <span aria-hidden className="h-px flex-1 bg-hairline" />
      {words}
      <span aria-hidden className="h-px flex-1 bg-hairline" />
    </p>
  );
}
