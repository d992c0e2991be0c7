import { dollars } from "@/lib/money";
import type { ToolCall } from "./queries";

export const RISKS: Record<ToolCall["risk"], string> = {
  read_only: "Only reads",
  low: "Low risk",
  high: "High risk",
};

const STATUSES: Record<ToolCall["status"], string> = {
  pending: "Waits for your decision",
  approved: "Approved",
  executing: "Running …",
  completed: "Done",
  failed: "Failed",
  timeout: "Ran out of time",
  denied: "Refused",
  cancelled: "Cancelled",
};

/** Why a call asks, ran automatically, or was refused. */
const REASONS: Record<string, string> = {
  never: "A rule of yours refuses this tool.",
  cost_per_tool: "It may cost more than you allow for one call.",
  cost_per_hour: "It may cost more than what is left of your limit for an hour.",
  asked_by_rule: "A rule of yours says to ask about this tool.",
  outcome_unknown:
    "The same call was cut off before, and may have had its effect. It is not repeated without asking.",
  untrusted: "It can send data out, and you did not name where it goes.",
  seen_by_others:
    "It looks into what is yours alone, and others read this chat: what it finds, they will see.",
  changed: "The tool is not described as it was when you allowed it.",
  new: "You have not approved this tool before.",
  not_allowed: "None of your rules allows it to run automatically.",
  allowed: "A rule of yours allows it.",
  read_only: "Tools that only read may run.",
  low_risk: "Tools of low risk may run.",
  unknown_tool: "There is no such tool here.",
  arguments_invalid: "Its arguments do not fit what the tool takes.",
  too_many_calls: "The reply had called tools as often as one may.",
};

export function statusWords(call: ToolCall, isMine: boolean): string {
  if (call.status === "pending" && !isMine) return "Waits for whoever asked";
  if (call.question) return isMine ? "Asks you something" : "Asks whoever asked for it";
  return STATUSES[call.status];
}

export function reasonWords(call: ToolCall): string {
  return REASONS[call.reason] ?? call.reason;
}

type SourceGroup = ToolCall["sources"][number];

/** Name what a run had read, such as "example.org, invoice.pdf and 3 of your chats". */
export function sourceWords(sources: SourceGroup[]): string {
  const names = sources.flatMap(namesOf);
  return new Intl.ListFormat("en", { type: "conjunction" }).format(names);
}

function namesOf({ kind, names, count }: SourceGroup): string[] {
  switch (kind) {
    case "chat":
      return [count === 1 ? "another of your chats" : `${count} of your chats`];
    case "draft":
      return [count === 1 ? "one of your drafts" : `${count} of your drafts`];
    case "person":
      return withRest(
        names.map((name) => `messages of ${name}`),
        count,
      );
    case "import":
      return ["imported messages"];
    default:
      return withRest(names, count);
  }
}

function withRest(names: string[], count: number): string[] {
  return count > names.length ? [...names, `${count - names.length} more`] : names;
}

/** Return what a call may cost, as far as it is known. */
export function costWords(call: ToolCall): string {
  if (Number(call.estimated_cost) > 0) return `costs at most ${dollars(call.estimated_cost)}`;
  return call.server ? `${call.server} does not say what it costs` : "costs nothing of its own";
}

export function tookWords(milliseconds: number): string {
  return milliseconds < 1000 ? `${milliseconds} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

/** Return who decided on a finished call, its duration and its cost. */
export function endWords(call: ToolCall): string {
  return [
    call.decision === "rule" && call.status === "completed" && "ran by a rule",
    call.decided_by &&
      `${call.status === "denied" ? "refused" : "approved"} by ${call.decided_by.name || "somebody"}`,
    call.edited_parameters && "arguments edited",
    call.execution_time_ms !== null && tookWords(call.execution_time_ms),
    call.cost !== null && Number(call.cost) > 0 && dollars(call.cost),
  ]
    .filter(Boolean)
    .join(" · ");
}
