import { useQuery, useQueryClient, useSuspenseQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import {
  Archive,
  ChartColumn,
  Files,
  FileText,
  ListChecks,
  LogOut,
  Search,
  Settings,
  SquarePen,
  Trash2,
  Wrench,
} from "lucide-react";
import type { ReactNode } from "react";
import { wordsFor } from "@/api/words";
import { meQuery, signOut } from "@/features/accounts";
import { OwnChats } from "@/features/chat";
import { ProjectLinks } from "@/features/projects";
import { pendingQuery } from "@/features/tools";
import { useRealtime } from "@/realtime/provider";
import { Menu } from "@/ui/menu";
import { useToast } from "@/ui/toast";

export function SideBar({ onOpen }: { onOpen?: () => void }) {
  return (
    <div className="flex h-full min-h-0 flex-col">
      <div className="flex items-center gap-2 p-3">
        <Link to="/" onClick={onOpen} className="flex-1 rounded-control px-2 font-serif text-accent text-lg">
          Tertulia
        </Link>
        <IconLink to="/search" label="Search" keys="Ctrl Shift F" onOpen={onOpen}>
          <Search size={18} strokeWidth={1.5} aria-hidden />
        </IconLink>
        <IconLink to="/drafts" label="Drafts" onOpen={onOpen}>
          <FileText size={18} strokeWidth={1.5} aria-hidden />
        </IconLink>
        <IconLink to="/" label="New chat" onOpen={onOpen}>
          <SquarePen size={18} strokeWidth={1.5} aria-hidden />
        </IconLink>
      </div>
      <Approvals onOpen={onOpen} />
      <nav aria-label="Chats" className="min-h-0 flex-1 overflow-y-auto px-2">
        <ProjectLinks onOpen={onOpen} />
        <OwnChats onOpen={onOpen} />
      </nav>
      <div className="border-hairline border-t p-2 pb-[max(0.5rem,env(safe-area-inset-bottom))]">
        <Own onOpen={onOpen} />
      </div>
    </div>
  );
}

/** Shown while a tool call awaits a decision. */
function Approvals({ onOpen }: { onOpen?: () => void }) {
  const { data: waiting = [] } = useQuery(pendingQuery);
  if (waiting.length === 0) return null;
  return (
    <Link
      to="/approvals"
      onClick={onOpen}
      className="mx-2 mb-1 flex min-h-10 items-center gap-2 rounded-control bg-accent-quiet px-3 text-accent hover:bg-surface-hover"
    >
      <Wrench size={16} strokeWidth={1.5} aria-hidden />
      <span className="flex-1">{waiting.length === 1 ? "A tool waits" : "Tools wait"} for you</span>
      <span className="tabular-nums">{waiting.length}</span>
    </Link>
  );
}

type IconLinkProps = {
  to: "/" | "/search" | "/drafts";
  label: string;
  keys?: string;
  onOpen?: () => void;
  children: ReactNode;
};

function IconLink({ to, label, keys, onOpen, children }: IconLinkProps) {
  return (
    <Link
      to={to}
      onClick={onOpen}
      aria-label={label}
      title={keys ? `${label} (${keys})` : label}
      className="inline-flex size-9 items-center justify-center rounded-control hover:bg-surface-hover pointer-coarse:size-11"
    >
      {children}
    </Link>
  );
}

function Own({ onOpen }: { onOpen?: () => void }) {
  const { data: me } = useSuspenseQuery(meQuery);
  const client = useQueryClient();
  const realtime = useRealtime();
  const navigate = useNavigate();
  const { say } = useToast();
  const icon = { size: 16, strokeWidth: 1.5, "aria-hidden": true } as const;
  const go = (to: "/chats" | "/files" | "/settings" | "/settings/usage" | "/archive" | "/trash") => {
    onOpen?.();
    void navigate({ to });
  };
  const leave = async () => {
    try {
      await signOut();
      realtime.restart();
      await client.resetQueries();
    } catch (error) {
      say(wordsFor(error));
    }
  };
  return (
    <Menu
      trigger={
        <button
          type="button"
          className="flex min-h-10 w-full items-center gap-3 rounded-control px-2 text-left hover:bg-surface-hover"
        >
          <span
            aria-hidden
            className="flex size-7 items-center justify-center rounded-full bg-accent-quiet font-semibold text-accent text-sm"
          >
            {me.name.slice(0, 1).toUpperCase()}
          </span>
          <span className="min-w-0 flex-1 truncate">{me.name}</span>
        </button>
      }
      entries={[
        { label: "Settings", icon: <Settings {...icon} />, onChoose: () => go("/settings") },
        { label: "Usage", icon: <ChartColumn {...icon} />, onChoose: () => go("/settings/usage") },
        { label: "All chats", icon: <ListChecks {...icon} />, onChoose: () => go("/chats") },
        { label: "Files", icon: <Files {...icon} />, onChoose: () => go("/files") },
        { label: "Archive", icon: <Archive {...icon} />, onChoose: () => go("/archive") },
        { label: "Trash", icon: <Trash2 {...icon} />, onChoose: () => go("/trash") },
        { label: "Sign out", icon: <LogOut {...icon} />, onChoose: () => void leave() },
      ]}
    />
  );
}
