import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ChevronDown, ChevronRight, TriangleAlert, Wrench } from "lucide-react";
import { type ReactNode, useId, useState } from "react";
import { ApiError } from "@/api/client";
import { wordsFor } from "@/api/words";
import { Button } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { TextField } from "@/ui/field";
import { Menu } from "@/ui/menu";
import { Problem } from "@/ui/problem";
import { Badge } from "@/ui/section";
import { spelledOut } from "../hidden";
import {
  approve,
  callsQuery,
  cancelCall,
  deny,
  dryRunQuery,
  placeCall,
  type ToolCall,
  toolsQuery,
} from "../queries";
import { costWords, endWords, RISKS, reasonWords, sourceWords, statusWords } from "../words";
import { QuestionForm } from "./question";
import { ResultView } from "./result";
import { Arguments, Definition, PlainText } from "./values";

/** A tool call in its reply: the arguments, why it waits, and its result. */
export function ToolCallCard({
  part,
  messageId,
  meId,
}: {
  part: { tool_execution_id: string; tool_name: string; server?: string | null };
  messageId: string;
  meId: string | undefined;
}) {
  const { data: calls, isPending } = useQuery(callsQuery(messageId));
  const call = calls?.find((item) => item.id === part.tool_execution_id);
  if (call) return <CallCard call={call} meId={meId} />;
  return (
    <p className="flex min-h-11 items-center gap-2 rounded-card border border-hairline px-3 text-text-muted">
      <Wrench size={16} strokeWidth={1.5} aria-hidden />
      {part.tool_name}
      <span className="text-sm">
        {isPending ? "" : calls ? "What it did is not recorded here" : "cannot be shown now"}
      </span>
    </p>
  );
}

export function CallCard({
  call,
  meId,
  chatLink,
}: {
  call: ToolCall;
  meId: string | undefined;
  chatLink?: ReactNode;
}) {
  const isMine = call.requested_by === meId;
  const isWaiting = call.status === "pending" || call.question !== null;
  const [isOpen, setOpen] = useState<boolean>();
  const shown = isOpen ?? (isWaiting && isMine);
  // After the first opening it is only hidden, so that typed text is kept.
  const [wasOpen, setWasOpen] = useState(shown);
  if (shown && !wasOpen) setWasOpen(true);
  const id = useId();
  return (
    <article
      aria-label={`Tool ${call.tool_name}`}
      className={cx(
        "overflow-hidden rounded-card border",
        isWaiting && isMine ? "border-accent" : "border-hairline",
      )}
    >
      <button
        type="button"
        aria-expanded={shown}
        aria-controls={id}
        onClick={() => setOpen(!shown)}
        className="flex min-h-11 w-full flex-wrap items-center gap-x-2 gap-y-0.5 px-3 py-2 text-left hover:bg-surface-hover"
      >
        <Wrench size={16} strokeWidth={1.5} aria-hidden className="shrink-0 text-tool" />
        <span className="font-medium">{call.tool_name}</span>
        {call.server && <span className="text-sm text-text-muted">from {call.server}</span>}
        {call.environment === "test" && <Badge tone="accent">Test account</Badge>}
        <span
          role={isWaiting ? "status" : undefined}
          className={cx(
            "text-sm",
            call.status === "executing" && !call.question && "shimmer",
            call.status === "failed" || call.status === "timeout" ? "text-danger" : "text-text-muted",
          )}
        >
          {statusWords(call, isMine)}
        </span>
        <span className="ml-auto text-sm text-text-muted tabular-nums">{endWords(call)}</span>
        <ChevronRight
          size={14}
          strokeWidth={1.5}
          aria-hidden
          className={cx("shrink-0 transition-transform", shown && "rotate-90")}
        />
      </button>
      {wasOpen && (
        <div
          id={id}
          hidden={!shown}
          className="flex flex-col gap-3 border-hairline border-t px-3 py-3 [&[hidden]]:hidden"
        >
          {chatLink}
          <Facts call={call} />
          {call.status === "pending" && isMine ? (
            <Deciding key={call.id} call={call} />
          ) : (
            <Arguments json={call.arguments_json} />
          )}
          {call.question && isMine && (
            <QuestionForm key={call.question.id} call={call} question={call.question} />
          )}
          {call.deny_note && <p className="text-text-muted">“{call.deny_note}”</p>}
          {call.error_message && call.status !== "denied" && (
            <p className="text-danger">
              <PlainText text={call.error_message} />
            </p>
          )}
          {call.error_code === "tool_server_sign_in" && isMine && (
            <Link to="/settings/tools" search={{}} className="text-accent underline">
              Sign in to {call.server}
            </Link>
          )}
          {call.result && <ResultView call={call} result={call.result} />}
          {isMine && (call.status === "executing" || call.status === "approved") && <Stop call={call} />}
        </div>
      )}
    </article>
  );
}

function Facts({ call }: { call: ToolCall }) {
  return (
    <div className="flex flex-col gap-2 text-sm">
      <p className="flex flex-wrap items-center gap-2">
        <Badge tone={call.risk === "high" ? "danger" : "quiet"}>{RISKS[call.risk]}</Badge>
        <span className="text-text-muted">{costWords(call)}</span>
      </p>
      {call.decision !== "person" && <p className="text-text-muted">{reasonWords(call)}</p>}
      {call.sources.length > 0 && (
        <p className="flex items-start gap-2 rounded-control bg-warning-quiet px-3 py-2 text-warning">
          <TriangleAlert size={16} strokeWidth={1.5} aria-hidden className="mt-0.5 shrink-0" />
          <span>
            This request was built after reading <PlainText text={sourceWords(call.sources)} />.
          </span>
        </p>
      )}
    </div>
  );
}

function Deciding({ call }: { call: ToolCall }) {
  const client = useQueryClient();
  const { data: tools = [] } = useQuery(toolsQuery);
  const [edited, setEdited] = useState<string>();
  const [note, setNote] = useState<string>();
  const [problem, setProblem] = useState<string>();
  const [isBusy, setBusy] = useState(false);
  const tool = tools.find((item) => item.key === call.tool_key);
  const [tried, setTried] = useState<string>(); // the edited arguments of the dry run
  const dryRun = useQuery({
    ...dryRunQuery(call.id, edited === undefined ? undefined : tried),
    enabled: tool?.can_dry_run === true,
  });
  const decide = async (work: () => Promise<ToolCall>) => {
    setBusy(true);
    setProblem(undefined);
    try {
      placeCall(client, await work());
    } catch (error) {
      setProblem(wordsFor(error));
      // Another user or window was first: load what they decided.
      if (error instanceof ApiError && error.status === 409) {
        void client.invalidateQueries(callsQuery(call.message_id));
        void client.invalidateQueries({ queryKey: ["pending-calls"] });
      }
    }
    setBusy(false);
  };
  const run = (remember: "none" | "chat" | "always") => {
    try {
      if (edited !== undefined) JSON.parse(edited);
    } catch {
      setProblem("The arguments are not valid JSON. Mend them, or take the model's.");
      return;
    }
    void decide(() => approve(call.id, { remember, arguments_json: edited }));
  };
  return (
    <>
      {tool?.changed && <Definition described={tool} changed={tool.changed} />}
      {edited === undefined ? (
        <Arguments json={call.arguments_json} />
      ) : (
        <TextField
          label="Arguments"
          hint="As JSON. It is recorded that you changed them, and the model is told."
          className="font-mono text-sm!"
          value={edited}
          onChange={(event) => setEdited(event.target.value)}
        />
      )}
      {tool?.can_dry_run && edited !== undefined && tried !== edited ? (
        <Button className="self-start" onClick={() => setTried(edited)}>
          Say what this would do
        </Button>
      ) : dryRun.data ? (
        <p className="rounded-control bg-surface-quiet px-3 py-2">
          <PlainText text={dryRun.data} />
        </p>
      ) : (
        dryRun.error && <p className="text-danger">{wordsFor(dryRun.error)}</p>
      )}
      {note !== undefined && (
        <TextField
          label="A word to the model"
          hint="Why not, or what instead. May be left empty."
          maxLength={1000}
          value={note}
          onChange={(event) => setNote(event.target.value)}
        />
      )}
      <Problem words={problem} />
      <div className="flex flex-wrap items-center gap-2">
        {note === undefined ? (
          <>
            <div className="flex">
              <Button
                look="primary"
                disabled={isBusy}
                className="rounded-r-none pointer-coarse:min-h-11"
                onClick={() => run("none")}
              >
                Approve once
              </Button>
              <Menu
                trigger={
                  <Button
                    look="primary"
                    disabled={isBusy}
                    aria-label="Approve for longer"
                    className="rounded-l-none border-on-accent/30 border-l px-2 pointer-coarse:min-h-11"
                  >
                    <ChevronDown size={16} strokeWidth={1.5} aria-hidden />
                  </Button>
                }
                entries={[
                  { label: "Approve for this chat", onChoose: () => run("chat") },
                  { label: "Always approve this tool", onChoose: () => run("always") },
                ]}
              />
            </div>
            <Button className="pointer-coarse:min-h-11" disabled={isBusy} onClick={() => setNote("")}>
              Refuse
            </Button>
            <Button
              look="plain"
              className="pointer-coarse:min-h-11"
              disabled={isBusy}
              onClick={() => {
                setProblem(undefined);
                setEdited(edited === undefined ? spelledOut(call.arguments_json) : undefined);
              }}
            >
              {edited === undefined ? "Edit the arguments" : "Take the model's"}
            </Button>
          </>
        ) : (
          <>
            <Button
              look="primary"
              className="pointer-coarse:min-h-11"
              disabled={isBusy}
              onClick={() => void decide(() => deny(call.id, note.trim() || undefined))}
            >
              Refuse the call
            </Button>
            <Button look="plain" className="pointer-coarse:min-h-11" onClick={() => setNote(undefined)}>
              Back
            </Button>
          </>
        )}
      </div>
    </>
  );
}

function Stop({ call }: { call: ToolCall }) {
  const client = useQueryClient();
  const [problem, setProblem] = useState<string>();
  const stop = async () => {
    try {
      placeCall(client, await cancelCall(call.id));
    } catch (error) {
      setProblem(wordsFor(error));
    }
  };
  return (
    <div className="flex flex-wrap items-center gap-2">
      <Button onClick={() => void stop()}>Stop it</Button>
      {problem && <p className="text-danger">{problem}</p>}
    </div>
  );
}
