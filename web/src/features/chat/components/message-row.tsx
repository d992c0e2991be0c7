import { Link } from "@tanstack/react-router";
import { Gauge, MessagesSquare, Play, RefreshCw } from "lucide-react";
import { memo, type ReactNode, useState } from "react";
import type { Schemas } from "@/api/client";
import { exactTime, relativeTime, wholeNumber } from "@/lib/dates";
import { Button, buttonLook } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { useLiveReply } from "../hooks/use-live-reply";
import type { ModelRef } from "../queries";
import type { Message } from "../reducer";
import { CheaperModel } from "./forecast";
import { ActionBar, type MessageActions, type MessageDialogs } from "./message-actions";
import { MessageEditor } from "./message-editor";
import { MessageParts } from "./message-parts";
import { Reactions } from "./reactions";

type Props = {
  message: Message;
  meId: string | undefined;
  isOwn: boolean; // the chat belongs to the user
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
  isOwn,
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
      {isPerson && isChannel && <Author message={message} />}
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
              keepsLines={isPerson}
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
      <ActionBar
        message={message}
        actions={actions}
        onEdit={onEdit}
        isOpen={isOpen}
        canWrite={canWrite}
        canChange={canWrite && (isOwn || (isPerson && message.user?.id === meId))}
        isChannel={isChannel}
      />
    </article>
  );
});

/** Who wrote a message of a channel, and when. */
export function Author({ message }: { message: Message }) {
  return (
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
  );
}

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
