import { FileText, ImageOff } from "lucide-react";
import { useState } from "react";
import type { Schemas } from "@/api/client";
import { fileSize } from "@/lib/sizes";
import { Dialog } from "@/ui/dialog";
import { useFileAddress } from "../files";

/** An uploaded image: a thumbnail in the message, full size on request. Its space is reserved while it loads. */
export function OwnPicture({ part }: { part: Schemas["ImagePart"] & { attachment_id: string } }) {
  const address = useFileAddress(part.attachment_id);
  const [isOpen, setOpen] = useState(false);
  // A picture that was just made may have no thumbnail yet.
  const [shown, setShown] = useState<"thumbnail" | "content" | "none">("thumbnail");
  const name = part.alt || "Picture";
  if (shown === "none") return <Gone name={name} isPicture />;
  const [width, height] = [part.width ?? 320, part.height ?? 240];
  const scale = Math.min(1, 320 / width, 320 / height);
  return (
    <>
      <button
        type="button"
        aria-label={`Show ${name}`}
        className="w-fit max-w-full overflow-hidden rounded-card border border-hairline bg-surface-quiet"
        onClick={() => setOpen(true)}
      >
        <img
          alt={name}
          src={address[shown]}
          width={Math.max(1, Math.round(width * scale))}
          height={Math.max(1, Math.round(height * scale))}
          className="h-auto max-w-full"
          onError={() => setShown(shown === "thumbnail" ? "content" : "none")}
        />
      </button>
      <Dialog title={name} isOpen={isOpen} onClose={() => setOpen(false)} isWide>
        <img alt={name} src={address.content} className="mx-auto max-h-[70dvh] max-w-full object-contain" />
        <a href={`${address.content}?download=true`} className="mt-3 w-fit text-accent underline">
          Download
        </a>
      </Dialog>
    </>
  );
}

export function OwnFile({ part }: { part: Schemas["FilePart"] }) {
  const address = useFileAddress(part.attachment_id);
  return (
    <a
      href={`${address.content}?download=true`}
      download={part.file_name}
      className="flex w-fit max-w-full items-center gap-3 rounded-card border border-hairline bg-surface-raised px-3 py-2 hover:bg-surface-hover"
    >
      <FileText size={20} strokeWidth={1.5} aria-hidden className="shrink-0 text-text-muted" />
      <span className="min-w-0">
        <span className="block truncate font-medium">{part.file_name}</span>
        <span className="block text-sm text-text-muted">{fileSize(part.file_size ?? 0)}</span>
      </span>
    </a>
  );
}

function Gone({ name, isPicture }: { name: string; isPicture?: boolean }) {
  return (
    <p className="flex w-fit max-w-full items-center gap-2 rounded-card border border-hairline px-3 py-2 text-text-muted">
      {isPicture && <ImageOff size={18} strokeWidth={1.5} aria-hidden />}
      <span className="truncate">{name}</span> was deleted, or cannot be shown.
    </p>
  );
}
