import { Link } from "@tanstack/react-router";
import {
  Check,
  ChevronLeft,
  ChevronRight,
  Columns2,
  Copy,
  EyeOff,
  FilePen,
  Gauge,
  GitBranchPlus,
  History,
  Layers,
  MessagesSquare,
  MoreHorizontal,
  Pencil,
  Pin,
  Play,
  RefreshCw,
  Trash2,
} from "lucide-react";
import { memo, type ReactNode, useState } from "react";
import type { Schemas } from "@/api/client";
import { exactTime, relativeTime, wholeNumber } from "@/lib/dates";
import { dollars } from "@/lib/money";
import { Button, buttonLook, IconButton } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { Menu, type MenuEntry } from "@/ui/menu";
import { useCopied } from "@/ui/use-copied";
import { asMarkdown } from "../as-markdown";
import { useLiveReply } from "../hooks/use-live-reply";
import type { ContextRule, ModelRef, ReplyOptions } from "../queries";
import type { Message } from "../reducer";
import { CheaperModel } from "./forecast";
import { MessageEditor } from "./message-editor";
import { MessageParts } from "./message-parts";
import { ReactButton, Reactions } from "./reactions";

export type MessageActions = {
  edit: (message: Message, content: string, isInPlace: boolean) => Promise<void>;
  react: (message: Message, emoji: string, isOn: boolean) => void;
  setRule: (message: Message, rule: ContextRule) => void;
  regenerate: (message: Message, models?: ModelRef[], options?: ReplyOptions) => void;
  continueReply: (message: Message) => void;
  showSibling: (messageId: string) => void;
  fork: (message: Message) => void;
  remove: (message: Message) => void;
};
/** The panels and dialogs that a message opens. */
export type MessageDialogs = {
  compare: (message: Message) => void;
  askOthers: (message: Message) => void;
  showHistory: (message: Message) => void;
  openThread: (messageId: string) => void;
  toDraft: (message: Message, words?: string) => void;
};
type Props = {
  message: Message;
  meId: string | undefined;
  canWrite: boolean;
  actions: MessageActions & MessageDialogs;
  isEditing: boolean;
  onEdit: (messageId: string | undefined) => void;
  waitingWords: (message: Message) => ReactNode;
  isChannel?: boolean;
};

/** One message with its actions. A streaming reply is followed here. */
export const MessageRow = memo(function MessageRow({
  message,
  meId,
  canWrite,
  actions,
  isEditing,
  onEdit,
  waitingWords,
  isChannel = false,
}: Props) {
  const isOpen = message.status === "sending" || message.status === "streaming";
  const live = useLiveReply(
    isOpen && message.role === "assistant" ? (message.run_id ?? undefined) : undefined,
  );
  const isPerson = message.role === "user";
  const isAside = isPerson && !isChannel; // on the right, as what the person said to a model
  const parts = isOpen && live?.parts.length ? live.parts : message.parts;
  if (isEditing)
    return (
      <MessageEditor
        message={message}
        isInPlace={!isPerson || isChannel}
        onCancel={() => onEdit(undefined)}
        onSave={async (content, isInPlace) => {
          await actions.edit(message, content, isInPlace);
          onEdit(undefined);
        }}
      />
    );
  return (
    <article
      aria-label={isPerson ? (message.user?.name ?? "You") : "Reply"}
      className="group flex flex-col gap-1"
    >
      {isPerson && isChannel && (
        <p className="flex items-baseline gap-2">
          <span className="font-semibold">{message.user?.name ?? "A former member"}</span>
          <time
            className="text-sm text-text-muted"
            dateTime={message.created_at}
            title={exactTime(message.created_at)}
          >
            {relativeTime(message.created_at)}
          </time>
        </p>
      )}
      {isAside && message.user && message.user.id !== meId && (
        <p className="ml-auto px-1 text-sm text-text-muted">{message.user.name}</p>
      )}
      <div
        data-reply={isPerson || isOpen ? undefined : message.id}
        className={cx("min-w-0", isAside && "ml-auto max-w-[85%] rounded-card bg-surface-quiet px-4 py-2")}
      >
        {parts.length > 0 ? (
          <Folded isFoldable={isPerson} length={message.content.length}>
            <MessageParts
              parts={parts}
              messageId={message.id}
              isMarkdown={!isPerson || isChannel}
              isStreaming={isOpen}
            />
          </Folded>
        ) : (
          isOpen && <p className="shimmer min-h-7 text-text-muted">{waitingWords(message)}</p>
        )}
      </div>
      {!isPerson && <Ending message={message} actions={actions} />}
      <div className={cx("flex flex-wrap items-center gap-2 empty:hidden", isAside && "justify-end")}>
        <Reactions
          message={message}
          meId={meId}
          onReact={(emoji, isOn) => canWrite && actions.react(message, emoji, isOn)}
        />
        {message.reply_count > 0 && (
          <Button look="plain" className="text-sm" onClick={() => actions.openThread(message.id)}>
            <MessagesSquare size={16} strokeWidth={1.5} aria-hidden />
            {message.reply_count === 1 ? "1 reply" : `${wholeNumber(message.reply_count)} replies`}
          </Button>
        )}
      </div>
      <Actions
        message={message}
        actions={actions}
        onEdit={onEdit}
        isOpen={isOpen}
        canWrite={canWrite}
        isChannel={isChannel}
      />
    </article>
  );
});

const FOLD_AT = 3000;

function Folded({
  isFoldable,
  length,
  children,
}: {
  isFoldable: boolean;
  length: number;
  children: ReactNode;
}) {
  const [isFolded, setFolded] = useState(isFoldable && length > FOLD_AT);
  if (!isFoldable || length <= FOLD_AT) return children;
  return (
    <>
      <div className={isFolded ? "relative max-h-60 overflow-hidden" : undefined}>{children}</div>
      <Button look="plain" className="text-sm" onClick={() => setFolded(!isFolded)}>
        {isFolded ? `Show all ${wholeNumber(length)} characters` : "Show less"}
      </Button>
    </>
  );
}

function modelOf({ provider, model_name }: Message): ModelRef | undefined {
  return provider && model_name ? { provider, model_name } : undefined;
}

/** How a reply ended if it did not end normally, and what to do next. */
function Ending({ message, actions }: Pick<Props, "message" | "actions">) {
  const isBroken = message.status === "interrupted" || message.status === "error";
  return (
    <>
      {isBroken && (
        <div
          role={message.status === "error" ? "alert" : undefined}
          className={cx(
            "flex flex-wrap items-center gap-x-3 gap-y-2 rounded-card px-3 py-2",
            message.status === "error" ? "bg-danger-quiet text-danger" : "bg-surface-quiet text-text-muted",
          )}
        >
          <span className="min-w-0 flex-1 basis-60">
            {message.error?.message ?? "This reply was interrupted."}
          </span>
          {message.content && (
            <Button onClick={() => actions.continueReply(message)}>
              <Play size={14} strokeWidth={1.5} aria-hidden /> Continue
            </Button>
          )}
          {message.error?.code === "model_takes_no_tools" && (
            <Button onClick={() => actions.regenerate(message, undefined, { tools: false })}>
              <RefreshCw size={14} strokeWidth={1.5} aria-hidden /> Answer without tools
            </Button>
          )}
          {message.error?.code === "quota_reached" && (
            <Link to="/settings/limits" className={buttonLook("quiet")}>
              <Gauge size={14} strokeWidth={1.5} aria-hidden /> Show limits
            </Link>
          )}
          {message.error?.code === "quota_reached" && (
            <CheaperModel
              chatId={message.chat_id}
              model={modelOf(message)}
              verb="Answer with"
              onChoose={(model) => actions.regenerate(message, [model])}
            />
          )}
          <Button onClick={() => actions.regenerate(message)}>
            <RefreshCw size={14} strokeWidth={1.5} aria-hidden /> Retry
          </Button>
        </div>
      )}
      {message.finish_reason === "length" && (
        <p className="text-sm text-warning">The reply reached its longest length and stops here.</p>
      )}
      {message.finish_reason === "content_filter" && !message.error && !hasRefusal(message) && (
        <p className="text-sm text-warning">The provider stopped the reply here by its rules.</p>
      )}
      {message.omissions.length > 0 && (
        <ul className="text-sm text-text-muted">
          {message.omissions.map((omission) => (
            <li key={`${omission.kind} ${omission.name ?? ""}`}>{wordsForOmission(omission)}</li>
          ))}
        </ul>
      )}
      {message.left_out > 0 && (
        <p className="text-sm text-text-muted">
          {message.left_out === 1
            ? "The oldest message did not fit the model's window and was left out."
            : `The ${wholeNumber(message.left_out)} oldest messages did not fit the model's window and were left out.`}
        </p>
      )}
    </>
  );
}

const hasRefusal = (message: Message) => message.parts.some((part) => part.type === "refusal");

/** Say what the model did not get of something that was sent to it. */
function wordsForOmission({ kind, name, amount }: Schemas["OmissionRead"]): string {
  const characters = amount === 1 ? "One character" : `${wholeNumber(amount)} characters`;
  const reason = "had no room and did not reach the model.";
  switch (kind) {
    case "file":
      return `${characters} of ${name ?? "a file"} ${reason}`;
    case "result":
      return `${characters} of what ${name ?? "a tool"} returned ${reason}`;
    case "picture":
      return `${amount === 1 ? "One picture" : `${wholeNumber(amount)} pictures`} did not fit or cannot be seen and did not reach the model.`;
    case "system":
      return `${characters} of the instructions ${reason}`;
    case "summary":
      return `${characters} of the summary ${reason}`;
    case "draft":
      return `${characters} of ${name ?? "a draft"} ${reason}`;
    case "state":
      return `${characters} of what is kept of this chat ${reason}`;
    case "message":
      return `${characters} of messages ${reason}`;
  }
}

function Actions({
  message,
  actions,
  onEdit,
  isOpen,
  canWrite,
  isChannel = false,
}: Pick<Props, "message" | "actions" | "onEdit" | "canWrite" | "isChannel"> & { isOpen: boolean }) {
  const [isCopied, copy] = useCopied();
  const isPerson = message.role === "user";
  return (
    <div
      className={cx(
        "flex min-h-8 items-center gap-1 text-sm text-text-muted",
        isPerson && !isChannel && "justify-end",
      )}
    >
      {!isChannel && <Siblings message={message} onShow={actions.showSibling} />}
      <div
        className={cx(
          "flex items-center gap-1 transition-opacity duration-150",
          "pointer-fine:opacity-0 group-focus-within:opacity-100 group-hover:opacity-100 has-[[data-popup-open]]:opacity-100",
          isOpen && "invisible",
        )}
      >
        <IconButton label={isCopied ? "Copied" : "Copy"} onClick={() => copy(asMarkdown(message))}>
          {isCopied ? (
            <Check size={16} strokeWidth={1.5} aria-hidden />
          ) : (
            <Copy size={16} strokeWidth={1.5} aria-hidden />
          )}
        </IconButton>
        {canWrite && <ReactButton onReact={(emoji) => actions.react(message, emoji, true)} />}
        {!canWrite ? null : isPerson ? (
          <IconButton label="Edit" onClick={() => onEdit(message.id)}>
            <Pencil size={16} strokeWidth={1.5} aria-hidden />
          </IconButton>
        ) : (
          <IconButton label="Write another reply" onClick={() => actions.regenerate(message)}>
            <RefreshCw size={16} strokeWidth={1.5} aria-hidden />
          </IconButton>
        )}
        <Menu
          trigger={
            <IconButton label="More">
              <MoreHorizontal size={16} strokeWidth={1.5} aria-hidden />
            </IconButton>
          }
          entries={moreEntries(message, actions, onEdit, canWrite, isChannel)}
        />
        <span className="px-1 tabular-nums" title={exactTime(message.created_at)}>
          {[
            !isChannel && relativeTime(message.created_at),
            message.edited && "edited",
            message.imported && "imported",
            message.context_rule === "pinned" && "always sent to models",
            message.context_rule === "left_out" && "not sent to models",
            message.model_name,
            usedWords(message),
          ]
            .filter(Boolean)
            .join(" · ")}
        </span>
      </div>
    </div>
  );
}

function moreEntries(
  message: Message,
  actions: Props["actions"],
  onEdit: Props["onEdit"],
  canWrite: boolean,
  isChannel: boolean,
): MenuEntry[] {
  const icon = { size: 16, strokeWidth: 1.5, "aria-hidden": true } as const;
  const entries: MenuEntry[] = [
    {
      label: message.reply_count ? "Open the thread" : "Reply in a thread",
      icon: <MessagesSquare {...icon} />,
      onChoose: () => actions.openThread(message.id),
    },
    {
      label: "Go on from here in a new chat",
      icon: <GitBranchPlus {...icon} />,
      onChoose: () => actions.fork(message),
    },
  ];
  if (message.role === "assistant" && message.content)
    entries.push({
      label: "To a draft",
      icon: <FilePen {...icon} />,
      onChoose: () => actions.toDraft(message),
    });
  if (message.edited)
    entries.push({
      label: "Earlier wordings",
      icon: <History {...icon} />,
      onChoose: () => actions.showHistory(message),
    });
  if (canWrite && message.role === "assistant")
    entries.push({
      label: "Change the wording",
      icon: <Pencil {...icon} />,
      onChoose: () => onEdit(message.id),
    });
  const isForModels = canWrite && !isChannel; // no model reads a channel
  if (isForModels && message.context_rule !== "auto")
    entries.push({
      label: "Send to models as it fits",
      icon: <Gauge {...icon} />,
      onChoose: () => actions.setRule(message, "auto"),
    });
  if (isForModels && message.context_rule !== "pinned")
    entries.push({
      label: "Always send to models",
      icon: <Pin {...icon} />,
      onChoose: () => actions.setRule(message, "pinned"),
    });
  if (isForModels && message.context_rule !== "left_out")
    entries.push({
      label: "Never send to models",
      icon: <EyeOff {...icon} />,
      onChoose: () => actions.setRule(message, "left_out"),
    });
  if (canWrite)
    entries.push({
      label: "Delete",
      icon: <Trash2 {...icon} />,
      isDangerous: true,
      onChoose: () => actions.remove(message),
    });
  if (message.sibling_ids.length > 1)
    entries.unshift({
      label: "Compare versions",
      icon: <Columns2 {...icon} />,
      onChoose: () => actions.compare(message),
    });
  if (message.role === "assistant" && canWrite)
    entries.unshift({
      label: "Ask other models",
      icon: <Layers {...icon} />,
      onChoose: () => actions.askOthers(message),
    });
  return entries;
}

/** The tokens and cost of a reply. A cut-off reply is estimated, an unknown cost is named so. */
function usedWords({ usage, cost }: Message): string | undefined {
  if (!usage) return undefined;
  const about = usage.estimated ? "about " : "";
  const tokens = `${about}${wholeNumber(usage.total_tokens)} tokens`;
  return cost === null ? `${tokens} · cost unknown` : `${tokens} · ${about}${dollars(cost)}`;
}

function Siblings({ message, onShow }: { message: Message; onShow: (messageId: string) => void }) {
  const ids = message.sibling_ids;
  const at = ids.indexOf(message.id);
  if (ids.length < 2 || at < 0) return null;
  const before = ids[at - 1];
  const after = ids[at + 1];
  return (
    <nav aria-label="Versions of this message" className="flex items-center tabular-nums">
      <IconButton label="Previous version" disabled={!before} onClick={() => before && onShow(before)}>
        <ChevronLeft size={16} strokeWidth={1.5} aria-hidden />
      </IconButton>
      <span>
        {at + 1}/{ids.length}
      </span>
      <IconButton label="Next version" disabled={!after} onClick={() => after && onShow(after)}>
        <ChevronRight size={16} strokeWidth={1.5} aria-hidden />
      </IconButton>
    </nav>
  );
}
