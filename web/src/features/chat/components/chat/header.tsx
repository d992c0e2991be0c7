import { Gauge, Network, SlidersHorizontal } from "lucide-react";
import type { ReactNode } from "react";
import { wholeNumber } from "@/lib/dates";
import { dollars } from "@/lib/money";
import { IconButton } from "@/ui/button";
import { useChat } from "./provider";

const icon = { size: 18, strokeWidth: 1.5, "aria-hidden": true } as const;

/** The title of the chat, who has it open, its cost and its actions. `children` are the page's own actions. */
export function Header({ menu, children }: { menu: ReactNode; children?: ReactNode }) {
  const { chat, isOwn, presence, isContextShown, setContextShown, setThreadId, setDialog } = useChat();
  const isChannel = chat.kind === "channel";
  return (
    <header className="flex min-h-14 items-center gap-2 border-hairline border-b px-3">
      {menu}
      <div className="min-w-0 flex-1 px-1">
        <h1 className="truncate font-semibold text-md">
          {isChannel && <span aria-hidden>#</span>}
          {chat.title}
        </h1>
        {(chat.owner || presence.others.length > 0) && (
          <p role="status" className="truncate text-sm text-text-muted">
            {presenceLabel(isChannel ? undefined : chat.owner?.name, presence.others)}
          </p>
        )}
      </div>
      {chat.total_tokens > 0 && (
        <span
          className="hidden shrink-0 text-sm text-text-muted tabular-nums sm:inline"
          title="Used in this chat so far"
        >
          {wholeNumber(chat.total_tokens)} tokens · {dollars(chat.total_cost)}
        </span>
      )}
      {!isChannel && (
        <>
          <IconButton
            label="What the model is sent"
            aria-pressed={isContextShown}
            className="aria-pressed:bg-accent-quiet aria-pressed:text-accent"
            onClick={() => {
              setThreadId(undefined);
              setContextShown(!isContextShown);
            }}
          >
            <Gauge {...icon} />
          </IconButton>
          <IconButton label="Map of the chat" onClick={() => setDialog({ kind: "map" })}>
            <Network {...icon} />
          </IconButton>
        </>
      )}
      {children}
      {isOwn && !isChannel && (
        <IconButton label="Chat settings" onClick={() => setDialog({ kind: "settings" })}>
          <SlidersHorizontal {...icon} />
        </IconButton>
      )}
    </header>
  );
}

/** Return whose chat it is, who else has it open, and who is typing. */
export function presenceLabel(
  owner: string | undefined,
  others: readonly { name: string; isTyping: boolean }[],
): string {
  const typing = others.filter((person) => person.isTyping).map((person) => person.name);
  if (typing.length) return `${typing.join(", ")} ${typing.length === 1 ? "is" : "are"} writing …`;
  const here = others.map((person) => person.name).join(", ");
  return [owner && `${owner}’s chat`, here && `also here: ${here}`].filter(Boolean).join(" · ");
}
