import { Dialog } from "@base-ui/react/dialog";
import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import {
  Archive,
  ChartColumn,
  Download,
  Files,
  FileText,
  Folder,
  Keyboard,
  KeyRound,
  ListChecks,
  MessageSquare,
  Moon,
  Plug,
  Search,
  Settings,
  SquarePen,
  Sun,
  Trash2,
} from "lucide-react";
import { type ReactNode, useEffect, useId, useState } from "react";
import { projectsQuery } from "@/features/projects";
import { titlesQuery } from "@/features/search";
import { cx } from "@/ui/class-names";
import { showTheme } from "./theme";

type Entry = { key: string; label: string; note?: string; icon: ReactNode; run: () => void };
const icon = { size: 16, strokeWidth: 1.5, "aria-hidden": true } as const;
const SHOWN = 8; // chats
const PAUSE_MS = 120; // after the last key, before chats are searched

/** The command palette (Ctrl or Cmd and K): chats, pages and actions from the keyboard. */
export function Palette({ onClose, showShortcuts }: { onClose: () => void; showShortcuts: () => void }) {
  const [typed, setTyped] = useState("");
  const [key, setKey] = useState<string>(); // key of the chosen entry, which stays chosen when other entries arrive
  const listId = useId();
  const entries = useEntries(typed, showShortcuts);
  const chosen = Math.max(
    0,
    entries.findIndex((entry) => entry.key === key),
  );
  const run = (entry: Entry | undefined) => {
    if (!entry) return;
    onClose();
    entry.run();
  };
  useEffect(() => {
    document.getElementById(`${listId}-${chosen}`)?.scrollIntoView({ block: "nearest" });
  }, [listId, chosen]);
  return (
    <Dialog.Root open onOpenChange={(open) => !open && onClose()}>
      <Dialog.Portal>
        <Dialog.Backdrop className="fixed inset-0 z-40 bg-backdrop" />
        <Dialog.Popup
          aria-label="Commands"
          className="fixed inset-x-4 top-[12dvh] z-40 mx-auto flex max-h-[70dvh] max-w-lg flex-col rounded-sheet bg-surface-raised shadow-float outline-none"
        >
          <input
            role="combobox"
            aria-label="Go to a chat, a page or an action"
            aria-expanded="true"
            aria-controls={listId}
            aria-activedescendant={`${listId}-${chosen}`}
            placeholder="Go to a chat, a page or an action"
            value={typed}
            maxLength={200}
            onChange={(event) => {
              setTyped(event.target.value);
              setKey(undefined);
            }}
            onKeyDown={(event) => {
              if (event.nativeEvent.isComposing) return;
              const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
              if (step) {
                event.preventDefault();
                setKey(entries[(chosen + step + entries.length) % entries.length]?.key);
              }
              if (event.key === "Enter") {
                event.preventDefault();
                run(entries[chosen]);
              }
            }}
            className="min-h-12 border-hairline border-b bg-transparent px-4 text-md outline-none placeholder:text-text-muted"
          />
          <div id={listId} role="listbox" aria-label="What there is" className="min-h-0 overflow-y-auto p-2">
            {entries.map((entry, index) => (
              // biome-ignore lint/a11y/useFocusableInteractive: the box above keeps the focus, and names the active one
              <div
                key={entry.key}
                id={`${listId}-${index}`}
                role="option"
                aria-selected={index === chosen}
                onPointerMove={() => setKey(entry.key)}
                onClick={() => run(entry)}
                onKeyDown={undefined}
                className={cx(
                  "flex min-h-10 cursor-default items-center gap-3 rounded-control px-3",
                  index === chosen && "bg-surface-hover",
                )}
              >
                {entry.icon}
                <span className="min-w-0 flex-1 truncate">{entry.label}</span>
                {entry.note && <span className="shrink-0 text-text-muted text-xs">{entry.note}</span>}
              </div>
            ))}
          </div>
        </Dialog.Popup>
      </Dialog.Portal>
    </Dialog.Root>
  );
}

function useEntries(typed: string, showShortcuts: () => void): Entry[] {
  const navigate = useNavigate();
  const [searched, setSearched] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => setSearched(typed.trim()), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  const query = useQuery(titlesQuery(searched));
  const { data: projects = [] } = useQuery(projectsQuery());
  // Hide results of an earlier text: Enter would open a chat that does not match.
  const titles = searched === typed.trim() ? (query.data ?? []) : [];
  const go =
    (to: "/" | "/settings" | "/settings/providers" | "/settings/usage" | "/settings/security") => () =>
      void navigate({ to });
  const pages: Entry[] = [
    { key: "new", label: "New chat", icon: <SquarePen {...icon} />, run: go("/") },
    { key: "settings", label: "Settings", icon: <Settings {...icon} />, run: go("/settings") },
    { key: "providers", label: "Providers", icon: <Plug {...icon} />, run: go("/settings/providers") },
    { key: "usage", label: "Usage and cost", icon: <ChartColumn {...icon} />, run: go("/settings/usage") },
    {
      key: "security",
      label: "Devices and password",
      icon: <KeyRound {...icon} />,
      run: go("/settings/security"),
    },
    {
      key: "archive",
      label: "Archive",
      icon: <Archive {...icon} />,
      run: () => void navigate({ to: "/archive" }),
    },
    {
      key: "drafts",
      label: "Drafts",
      icon: <FileText {...icon} />,
      run: () => void navigate({ to: "/drafts" }),
    },
    {
      key: "projects",
      label: "Projects",
      icon: <Folder {...icon} />,
      run: () => void navigate({ to: "/projects" }),
    },
    ...projects.map((project) => ({
      key: project.id,
      label: project.name,
      note: "project",
      icon: <Folder {...icon} />,
      run: () => void navigate({ to: "/p/$projectId", params: { projectId: project.id } }),
    })),
    { key: "files", label: "Files", icon: <Files {...icon} />, run: () => void navigate({ to: "/files" }) },
    {
      key: "all-chats",
      label: "All chats",
      icon: <ListChecks {...icon} />,
      run: () => void navigate({ to: "/chats" }),
    },
    {
      key: "data",
      label: "Import and export",
      icon: <Download {...icon} />,
      run: () => void navigate({ to: "/settings/data" }),
    },
    { key: "trash", label: "Trash", icon: <Trash2 {...icon} />, run: () => void navigate({ to: "/trash" }) },
    { key: "light", label: "Light, in this window", icon: <Sun {...icon} />, run: () => showTheme("light") },
    { key: "dark", label: "Dark, in this window", icon: <Moon {...icon} />, run: () => showTheme("dark") },
    { key: "shortcuts", label: "Shortcuts", note: "?", icon: <Keyboard {...icon} />, run: showShortcuts },
  ];
  const wanted = typed.trim().toLocaleLowerCase();
  if (!wanted) return pages;
  const chats = titles.slice(0, SHOWN).map((chat) => ({
    key: chat.id,
    label: chat.title,
    note: chat.isDraft ? "draft" : chat.is_archived ? "archived" : "chat",
    icon: chat.isDraft ? <FileText {...icon} /> : <MessageSquare {...icon} />,
    run: () =>
      void (chat.isDraft
        ? navigate({ to: "/d/$draftId", params: { draftId: chat.id } })
        : navigate({ to: "/c/$chatId", params: { chatId: chat.id } })),
  }));
  const search: Entry = {
    key: "search",
    label: `Search for “${typed.trim()}”`,
    icon: <Search {...icon} />,
    run: () => void navigate({ to: "/search", search: { q: typed.trim() } }),
  };
  return [...pages.filter((page) => page.label.toLocaleLowerCase().includes(wanted)), ...chats, search];
}
