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
  RefreshCw,
  Trash2,
} from "lucide-react";
import { exactTime, relativeTime, wholeNumber } from "@/lib/dates";
import { dollars } from "@/lib/money";
import { IconButton } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { Menu, type MenuEntry } from "@/ui/menu";
import { useCopied } from "@/ui/use-copied";
import { asMarkdown } from "../as-markdown";
import type { ContextRule, ModelRef, ReplyOptions } from "../queries";
import type { Message } from "../reducer";
import { ReactButton } from "./reactions";

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
  actions: MessageActions & MessageDialogs;
  onEdit: (messageId: string | undefined) => void;
  isOpen: boolean;
  canWrite: boolean;
  canChange: boolean; // for everybody: as the author, or the owner of the chat
  isChannel: boolean;
};

/** The buttons below a message, its versions, and when it was written and what it cost. */
export function ActionBar(props: Props) {
  const { message, actions, onEdit, isOpen, canWrite, canChange, isChannel } = props;
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
        {isPerson && (isChannel ? canChange : canWrite) && (
          <IconButton label="Edit" onClick={() => onEdit(message.id)}>
            <Pencil size={16} strokeWidth={1.5} aria-hidden />
          </IconButton>
        )}
        {!isPerson && canWrite && (
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
          entries={moreEntries(props)}
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

function moreEntries({ message, actions, onEdit, canWrite, canChange, isChannel }: Props): MenuEntry[] {
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
  if (canChange && message.role === "assistant")
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
  if (canChange)
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
