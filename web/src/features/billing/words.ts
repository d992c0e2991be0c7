import { languageOf, wholeNumber } from "@/lib/dates";
import { dollars } from "@/lib/money";
import { fileSize } from "@/lib/sizes";
import type { Limit, Quota } from "./queries";

export type Measure = Limit["measure"];

export const MEASURES: Record<Measure, string> = {
  cost: "Cost",
  requests: "Requests",
  messages: "Messages",
  tokens: "Tokens",
  input_tokens: "Tokens in",
  output_tokens: "Tokens out",
  storage: "Stored files",
};
export const WINDOWS: Record<Limit["window"], string> = {
  minute: "per minute",
  hour: "per hour",
  day: "per day",
  month: "per month",
};
const FIELDS: [Measure, keyof Quota][] = [
  ["cost", "max_cost"],
  ["requests", "max_requests"],
  ["messages", "max_messages"],
  ["tokens", "max_tokens"],
  ["input_tokens", "max_input_tokens"],
  ["output_tokens", "max_output_tokens"],
  ["storage", "max_storage_bytes"],
];

/** Return the field of a quota that limits a measure. */
export function fieldOf(measure: Measure): keyof Quota {
  return FIELDS.find(([name]) => name === measure)?.[1] ?? "max_cost";
}

/** Return what a quota limits: each measure and its amount. */
export function limitsOf(quota: Quota): [Measure, string][] {
  return FIELDS.flatMap(([measure, field]) =>
    quota[field] === null ? [] : [[measure, String(quota[field])] as [Measure, string]],
  );
}

export function amountWords(measure: Measure, amount: string): string {
  if (measure === "cost") return dollars(amount);
  if (measure === "storage") return fileSize(Number(amount));
  return wholeNumber(Number(amount));
}

/** Say who or what a limit is for. */
export function subjectWords(
  limit: Pick<Limit, "subject_kind" | "subject_id" | "subject_name" | "set_by">,
): string {
  switch (limit.subject_kind) {
    case "user":
      return limit.set_by === "admin" ? "Set by an administrator" : "Set by you";
    case "role":
      return limit.subject_id === "admin" ? "For each administrator" : "For each user";
    case "plan":
      return limit.subject_name ? `Plan ${limit.subject_name}` : "Your plan";
    case "chat":
      return "This chat";
    case "project":
      return limit.subject_name ? `Project ${limit.subject_name}, everyone together` : "This project";
    case "token":
      return `API token ${limit.subject_name ?? ""}`.trim();
  }
}

/** Say when a limit resets. */
export function resetWords(limit: Pick<Limit, "resets_at" | "is_sliding" | "measure" | "window">): string {
  if (limit.measure === "storage") return "";
  if (limit.is_sliding || !limit.resets_at)
    return `in the last ${limit.window === "month" ? "30 days" : limit.window}`;
  const moment = new Date(limit.resets_at);
  const isSoon = moment.getTime() - Date.now() < 86_400_000;
  return `resets ${moment.toLocaleString(languageOf(), isSoon ? { timeStyle: "short" } : { day: "numeric", month: "long" })}`;
}
