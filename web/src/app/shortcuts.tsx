import { Dialog } from "@/ui/dialog";

const KEYS: [string, string][] = [
  ["Ctrl or ⌘ K", "Go to a chat, a page or an action"],
  ["Ctrl or ⌘ Shift F", "Search in everything that was said"],
  ["?", "These shortcuts"],
  ["Enter", "Send the message"],
  ["Shift Enter", "A new line in it"],
  ["↑ in an empty box", "Edit the last message"],
  ["Esc", "Stop the reply, or close what is open"],
];

export function Shortcuts({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Shortcuts" isOpen onClose={onClose}>
      <dl className="grid grid-cols-[auto_1fr] items-center gap-x-4 gap-y-2">
        {KEYS.map(([keys, what]) => (
          <div key={keys} className="contents">
            <dt>
              <kbd className="rounded bg-surface-quiet px-2 py-1 font-mono text-sm">{keys}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
