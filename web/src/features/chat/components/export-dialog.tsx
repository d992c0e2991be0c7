import { Dialog } from "@/ui/dialog";
import type { Chat } from "../queries";

const FORMATS = [
  { format: "markdown", label: "Markdown", what: "The branch on show, as text to read or to go on with." },
  { format: "html", label: "A page", what: "The same as one file that opens in any browser." },
  { format: "json", label: "JSON", what: "Everything: every branch, with models, tokens and costs." },
];

/** Export a chat as a file. */
export function ExportDialog({ chat, onClose }: { chat: Chat; onClose: () => void }) {
  return (
    <Dialog title={`Export ${chat.title}`} isOpen onClose={onClose}>
      <ul className="flex flex-col gap-2">
        {FORMATS.map(({ format, label, what }) => (
          <li key={format}>
            <a
              href={`/api/v1/chats/${chat.id}/export?format=${format}`}
              download
              onClick={onClose}
              className="flex flex-col rounded-card border border-hairline px-4 py-2 hover:bg-surface-hover"
            >
              <span className="font-medium">{label}</span>
              <span className="text-sm text-text-muted">{what}</span>
            </a>
          </li>
        ))}
      </ul>
    </Dialog>
  );
}
