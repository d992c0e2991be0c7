import { useQuery, useQueryClient } from "@tanstack/react-query";
import { EyeOff, Pin, X } from "lucide-react";
import type { ReactNode } from "react";
import type { Schemas } from "@/api/client";
import { wordsFor } from "@/api/words";
import { wholeNumber } from "@/lib/dates";
import { dollars } from "@/lib/money";
import { IconButton } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { Failed, Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import { placeMessage } from "../cache";
import { type ContextRule, contextQuery, setContextRule } from "../queries";
import { wordsForRange } from "./forecast";
import { Optimizations } from "./optimizations";

type Context = Schemas["ContextRead"];
type Item = Schemas["ContextItem"];
type Origin = Schemas["ContextOrigin"];
type Props = {
  chatId: string;
  canWrite: boolean;
  onShow: (messageId: string) => void;
  onClose: () => void;
  children?: ReactNode; // shown before the messages
};

/** The context of the next request: how full the window is, and which messages are sent and why. */
export function ContextPanel({ chatId, canWrite, onShow, onClose, children }: Props) {
  const { data: context, error, refetch } = useQuery(contextQuery(chatId));
  return (
    <>
      <header className="flex min-h-14 items-center gap-2 border-hairline border-b px-3">
        <h2 className="min-w-0 flex-1 truncate px-1 font-semibold text-md">What the model is sent</h2>
        <IconButton label="Close what the model is sent" onClick={onClose}>
          <X size={18} strokeWidth={1.5} aria-hidden />
        </IconButton>
      </header>
      <section aria-label="What the model is sent" className="min-h-0 flex-1 overflow-y-auto px-4 py-4">
        {children}
        {context ? (
          <>
            <Gauge context={context} />
            <Origins origins={context.origins} />
            <Optimizations chatId={chatId} canWrite={canWrite} applied={context.applied} />
            {context.items.length === 0 ? (
              <p className="pt-4 text-text-muted">Nothing has been said yet.</p>
            ) : (
              <ul aria-label="Messages, the newest first" className="flex flex-col pt-3">
                {context.items.toReversed().map((item) => (
                  <Row
                    key={item.message_id}
                    item={item}
                    chatId={chatId}
                    canWrite={canWrite}
                    onShow={onShow}
                  />
                ))}
              </ul>
            )}
            {context.older > 0 && (
              <p className="pt-2 text-sm text-text-muted">
                {context.older === 1
                  ? "One older message is left out."
                  : `${wholeNumber(context.older)}${context.older >= 1000 ? " or more" : ""} older messages are left out.`}
              </p>
            )}
          </>
        ) : error ? (
          <Failed words={wordsFor(error)} onRetry={() => void refetch()} />
        ) : (
          <Lines widths={["w-full", "w-2/3", "w-full"]} />
        )}
      </section>
    </>
  );
}

function Gauge({ context }: { context: Context }) {
  const { window, reserve, used, system_tokens, forecast } = context;
  const share = (tokens: number) => `${Math.min(100, (100 * tokens) / window)}%`;
  return (
    <div className="flex flex-col gap-2">
      <div aria-hidden className="flex h-2.5 overflow-hidden rounded-full bg-surface-quiet">
        <span className="bg-text-muted" style={{ width: share(system_tokens) }} />
        <span className="bg-accent" style={{ width: share(used - system_tokens) }} />
        <span className="ml-auto bg-hairline-strong" style={{ width: share(reserve) }} />
      </div>
      <p className="text-sm tabular-nums">
        About <strong>{wholeNumber(used)}</strong> of {wholeNumber(window)} tokens
        {system_tokens > 0 && `, ${wholeNumber(system_tokens)} of them instructions`}; {wholeNumber(reserve)}{" "}
        are kept for the answer.
      </p>
      <p className="text-sm text-text-muted tabular-nums">
        {context.model_name ?? "No model is chosen"} ·{" "}
        {forecast?.expected_cost && forecast.most_cost
          ? `about ${wordsForRange(forecast)} with an answer of ${wholeNumber(forecast.answer_tokens)} tokens, at most ${dollars(forecast.most_cost)}`
          : "its cost is unknown"}
      </p>
      {context.tools_left_out > 0 && (
        <p className="text-sm text-warning">
          {context.tools_left_out === 1
            ? "One tool is not offered: its description has no room. "
            : `${wholeNumber(context.tools_left_out)} tools are not offered: their descriptions have no room. `}
          Choose fewer tools, or a model with a larger window.
        </p>
      )}
    </div>
  );
}

const KINDS: Record<Origin["kind"], string> = {
  instructions: "Instructions",
  model: "Model",
  tools: "Tools",
  limit: "Limit",
};

/** What counts for this chat in addition to its messages, and where each comes from. */
function Origins({ origins }: { origins: Origin[] }) {
  if (origins.length === 0) return null;
  return (
    <details className="pt-3">
      <summary className="text-sm text-text-muted">Where it comes from</summary>
      <ul className="flex flex-col gap-2 pt-2 text-sm">
        {origins.map((origin, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: the order is all that tells two limits of a place apart
          <li key={index}>
            <p className="text-text-muted">
              {KINDS[origin.kind]} · {placeWords(origin)}
            </p>
            <p dir="auto" className="whitespace-pre-wrap break-words">
              {detailWords(origin)}
            </p>
          </li>
        ))}
      </ul>
    </details>
  );
}

function placeWords({ place, name }: Origin): string {
  if (place === "project") return name ? `Project ${name}` : "Project";
  return { server: "This server", account: "Your account", plan: "Your plan", chat: "This chat" }[place];
}

function detailWords({ kind, detail }: Origin): string {
  if (kind === "tools") return detail === "1" ? "1 tool" : `${wholeNumber(Number(detail))} tools`;
  if (kind === "limit" && !detail) return "Set by its owner";
  return detail;
}

const REASONS: Record<Item["reason"], string> = {
  newest: "Always goes: it was asked or answered last",
  pinned: "Pinned: it always goes",
  fits: "Goes whole",
  shortened: "Goes, but not all of it",
  compressed: "Goes without its repetitions",
  window: "Left out: no room",
  truncated: "Left out, with all before it",
  summarized: "Told by a summary",
  person: "Left out by a person",
};

function Row({
  item,
  chatId,
  canWrite,
  onShow,
}: { item: Item; chatId: string } & Omit<Props, "onClose" | "children">) {
  const client = useQueryClient();
  const { say } = useToast();
  const choose = async (rule: ContextRule) => {
    try {
      placeMessage(client, await setContextRule(item.message_id, rule));
      await client.invalidateQueries(contextQuery(chatId));
    } catch (error) {
      say(wordsFor(error));
    }
  };
  const isPinned = item.context_rule === "pinned";
  const isOut = item.context_rule === "left_out";
  const isShortened = item.sent_tokens > 0 && item.sent_tokens < item.tokens;
  return (
    <li className="flex items-start gap-1 border-hairline border-b py-2 last:border-0">
      <button
        type="button"
        title="Show it in the chat"
        onClick={() => onShow(item.message_id)}
        className={cx(
          "min-w-0 flex-1 rounded-control px-1 text-left hover:bg-surface-hover",
          item.sent_tokens === 0 && "text-text-muted",
        )}
      >
        <span className="line-clamp-2 break-words">
          <span className={item.role === "user" ? "text-person" : "text-model"}>
            {item.role === "user" ? "Person" : "Model"}
          </span>{" "}
          {item.excerpt}
        </span>
        <span className="block text-sm text-text-muted tabular-nums">
          {REASONS[item.reason]} ·{" "}
          {isShortened
            ? `${wholeNumber(item.sent_tokens)} of ${wholeNumber(item.tokens)} tokens`
            : `${wholeNumber(item.tokens)} tokens`}
          {item.omitted > 0 && ` · ${wholeNumber(item.omitted)} characters have no room`}
          {item.files.map((file) => ` · ${file.name} as ${file.as_file ? "a file" : "text"}`)}
        </span>
      </button>
      {canWrite && (
        <>
          <IconButton
            label={isPinned ? "Send it as it fits" : "Always send it"}
            aria-pressed={isPinned}
            className="aria-pressed:bg-accent-quiet aria-pressed:text-accent"
            onClick={() => void choose(isPinned ? "auto" : "pinned")}
          >
            <Pin size={16} strokeWidth={1.5} aria-hidden />
          </IconButton>
          <IconButton
            label={isOut ? "Send it again" : "Never send it"}
            aria-pressed={isOut}
            className="aria-pressed:bg-accent-quiet aria-pressed:text-accent"
            onClick={() => void choose(isOut ? "auto" : "left_out")}
          >
            <EyeOff size={16} strokeWidth={1.5} aria-hidden />
          </IconButton>
        </>
      )}
    </li>
  );
}
