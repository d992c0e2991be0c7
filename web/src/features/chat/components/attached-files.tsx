import { FileText, Loader, TriangleAlert, X } from "lucide-react";
import { fileSize } from "@/lib/sizes";
import { IconButton } from "@/ui/button";
import { cx } from "@/ui/class-names";
import type { Attached } from "../hooks/use-attached";

/** The files of the message being written, with upload progress and a remove button. */
export function AttachedFiles({ items, onRemove }: { items: Attached[]; onRemove: (key: string) => void }) {
  if (items.length === 0) return null;
  return (
    <ul aria-label="Attached files" className="flex flex-wrap gap-2 px-1 pb-2">
      {items.map((item) => (
        <li
          key={item.key}
          className={cx(
            "relative flex min-w-0 max-w-full items-center gap-2 overflow-hidden rounded-card border py-1 pr-1 pl-2 text-sm",
            item.state === "failed" ? "border-danger bg-danger-quiet" : "border-hairline bg-surface-quiet",
          )}
        >
          <Picture item={item} />
          <span className="min-w-0 max-w-60">
            <span className="block truncate font-medium">{item.name}</span>
            <span className={cx("block", item.problem ? "text-danger" : "text-text-muted")}>
              {words(item)}
            </span>
          </span>
          <IconButton
            label={item.state === "uploading" ? `Cancel ${item.name}` : `Remove ${item.name}`}
            onClick={() => onRemove(item.key)}
          >
            <X size={16} strokeWidth={1.5} aria-hidden />
          </IconButton>
          {item.state === "uploading" && (
            <progress
              aria-label={`${item.name} is being sent`}
              className="absolute inset-x-0 bottom-0 h-0.5 w-full appearance-none bg-transparent [&::-moz-progress-bar]:bg-accent [&::-webkit-progress-bar]:bg-transparent [&::-webkit-progress-value]:bg-accent"
              value={item.share}
              max={1}
            />
          )}
        </li>
      ))}
    </ul>
  );
}

function Picture({ item }: { item: Attached }) {
  if (item.problem)
    return <TriangleAlert size={20} strokeWidth={1.5} aria-hidden className="shrink-0 text-danger" />;
  if (item.attachment?.has_thumbnail)
    return (
      <img
        alt=""
        src={`/api/v1/attachments/${item.attachment.id}/thumbnail`}
        className="size-9 shrink-0 rounded-control object-cover"
      />
    );
  return item.state === "ready" ? (
    <FileText size={20} strokeWidth={1.5} aria-hidden className="shrink-0 text-text-muted" />
  ) : (
    <Loader
      size={20}
      strokeWidth={1.5}
      aria-hidden
      className="shrink-0 text-text-muted motion-safe:animate-spin"
    />
  );
}

function words(item: Attached): string {
  if (item.problem) return item.problem;
  switch (item.state) {
    case "uploading":
      return `${Math.floor(item.share * 100)} % of ${fileSize(item.size)}`;
    case "reading":
      return "Being read …";
    default:
      return fileSize(item.size);
  }
}
