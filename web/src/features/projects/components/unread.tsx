import type { Channel } from "../queries";

const MOST = 100; // that the server counts

/** What is new in channels: how often the user is named, else a dot. Muted ones show only where the user is named. */
export function Unread({ channels }: { channels: readonly Channel[] }) {
  const named = channels.reduce((sum, channel) => sum + channel.mention_count, 0);
  const unread = channels.reduce((sum, channel) => sum + (channel.is_muted ? 0 : channel.unread_count), 0);
  if (named > 0)
    return (
      <span className="shrink-0 rounded-full bg-accent px-1.5 font-medium text-on-accent text-xs tabular-nums">
        {shown(named)}
        <span className="sr-only"> {named === 1 ? "mention" : "mentions"} of you</span>
      </span>
    );
  if (unread > 0)
    return (
      <span className="shrink-0 rounded-full bg-surface-hover px-1.5 text-text-muted text-xs tabular-nums">
        {shown(unread)}
        <span className="sr-only"> unread</span>
      </span>
    );
  return null;
}

const shown = (count: number) => (count >= MOST ? `${MOST - 1}+` : String(count));
