import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Archive, AudioLines, Download, FileText, Film, RotateCcw, Trash2 } from "lucide-react";
import { useState } from "react";
import { wordsFor } from "@/api/words";
import { exactTime, relativeTime, wholeNumber } from "@/lib/dates";
import { fileSize } from "@/lib/sizes";
import { Button, IconButton } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Empty, Failed, Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import {
  type Attachment,
  attachmentsQuery,
  deleteAttachment,
  type Kind,
  type Order,
  restoreAttachment,
  storageQuery,
} from "../queries";

const KINDS = [
  { value: "any", label: "Everything" },
  { value: "image", label: "Pictures" },
  { value: "document", label: "Documents" },
  { value: "text", label: "Texts" },
  { value: "audio", label: "Sound" },
  { value: "video", label: "Video" },
  { value: "archive", label: "Archives" },
];
const ORDERS = [
  { value: "newest", label: "Newest first" },
  { value: "largest", label: "Largest first" },
  { value: "name", label: "By name" },
];

/** All files of the user: their total size, where they are used, and deletion. */
export function FileList() {
  const client = useQueryClient();
  const { say, offerUndo } = useToast();
  const [kind, setKind] = useState<Kind>("any");
  const [order, setOrder] = useState<Order>("newest");
  const [isTrash, setTrash] = useState(false);
  const { data: storage } = useQuery(storageQuery);
  const query = useInfiniteQuery(attachmentsQuery(kind, order, isTrash));
  const files = query.data?.pages.flatMap((page) => page.items) ?? [];
  const refresh = () =>
    Promise.all(["attachments", "storage"].map((key) => client.invalidateQueries({ queryKey: [key] })));
  const restore = (file: Attachment) =>
    restoreAttachment(file.id)
      .then(refresh)
      .catch((error) => say(wordsFor(error)));
  const remove = (file: Attachment) =>
    deleteAttachment(file.id)
      .then(async () => {
        offerUndo(`${file.file_name} is deleted.`, () => void restore(file));
        await refresh();
      })
      .catch((error) => say(wordsFor(error)));
  return (
    <div className="flex flex-col gap-4">
      {storage && <Meter used={storage.used_bytes} limit={storage.limit_bytes} files={storage.files} />}
      <div className="flex flex-wrap items-center gap-2">
        <Choice label="Kind" value={kind} options={KINDS} onChoose={(value) => setKind(value as Kind)} />
        <Choice label="Order" value={order} options={ORDERS} onChoose={(value) => setOrder(value as Order)} />
        <Button look="plain" className="ml-auto" aria-pressed={isTrash} onClick={() => setTrash(!isTrash)}>
          <Trash2 size={16} strokeWidth={1.5} aria-hidden /> {isTrash ? "Back to the files" : "Deleted files"}
        </Button>
      </div>
      {query.error ? (
        <Failed words={wordsFor(query.error)} onRetry={() => void query.refetch()} />
      ) : query.isPending ? (
        <Lines widths={["w-full", "w-5/6", "w-full", "w-2/3"]} />
      ) : files.length === 0 ? (
        <Empty level={2} title={isTrash ? "No deleted files" : "No files"}>
          {isTrash ? "What you delete is kept here for 30 days." : "Drop a file on a message to attach it."}
        </Empty>
      ) : (
        <ul aria-label="Files" className="flex flex-col">
          {files.map((file) => (
            <FileRow key={file.id} file={file} onRemove={remove} onRestore={restore} />
          ))}
        </ul>
      )}
      {query.hasNextPage && (
        <Button
          className="self-center"
          disabled={query.isFetchingNextPage}
          onClick={() => void query.fetchNextPage()}
        >
          Show more
        </Button>
      )}
    </div>
  );
}

function Meter({ used, limit, files }: { used: number; limit: number; files: number }) {
  const words = `${fileSize(used)} of ${fileSize(limit)}`;
  return (
    <div className="flex flex-col gap-1">
      <meter
        aria-label="Used for files"
        value={used}
        min={0}
        max={limit}
        className="h-2 w-full appearance-none overflow-hidden rounded-full border-0 bg-surface-hover [&::-moz-meter-bar]:bg-accent [&::-webkit-meter-bar]:border-0 [&::-webkit-meter-bar]:bg-surface-hover [&::-webkit-meter-optimum-value]:bg-accent"
      >
        {words}
      </meter>
      <p className="text-sm text-text-muted">
        {files === 1 ? "One file" : `${wholeNumber(files)} files`} · {words}
      </p>
    </div>
  );
}

type RowProps = {
  file: Attachment;
  onRemove: (file: Attachment) => void;
  onRestore: (file: Attachment) => void;
};

function FileRow({ file, onRemove, onRestore }: RowProps) {
  const { used_in, uses } = file;
  return (
    <li className="flex items-center gap-3 rounded-card px-2 py-2 hover:bg-surface-hover">
      <Picture file={file} />
      <div className="min-w-0 flex-1">
        <p className="truncate font-medium">{file.file_name}</p>
        <p className="truncate text-sm text-text-muted">
          <span title={exactTime(file.created_at)}>{relativeTime(file.created_at)}</span>
          {" · "}
          {[fileSize(file.file_size), ...measures(file)].join(" · ")}
        </p>
        <p className="truncate text-sm text-text-muted">
          {file.metadata.problem && <span className="text-warning">{file.metadata.problem} </span>}
          {used_in ? (
            <>
              In{" "}
              <Link
                to="/c/$chatId"
                params={{ chatId: used_in.chat_id }}
                search={{ m: used_in.message_id }}
                className="text-accent underline"
              >
                {used_in.chat_title}
              </Link>
              {uses > 1 && ` and ${wholeNumber(uses - 1)} more`}
            </>
          ) : (
            "Not used in a message"
          )}
        </p>
      </div>
      {file.deleted_at ? (
        <IconButton label={`Bring ${file.file_name} back`} onClick={() => onRestore(file)}>
          <RotateCcw size={16} strokeWidth={1.5} aria-hidden />
        </IconButton>
      ) : (
        <>
          <a
            href={`/api/v1/attachments/${file.id}/content?download=true`}
            download={file.file_name}
            aria-label={`Download ${file.file_name}`}
            title="Download"
            className="inline-flex size-8 items-center justify-center rounded-control text-text-muted hover:bg-surface-quiet hover:text-text pointer-coarse:size-10"
          >
            <Download size={16} strokeWidth={1.5} aria-hidden />
          </a>
          <IconButton label={`Delete ${file.file_name}`} onClick={() => onRemove(file)}>
            <Trash2 size={16} strokeWidth={1.5} aria-hidden />
          </IconButton>
        </>
      )}
    </li>
  );
}

function Picture({ file }: { file: Attachment }) {
  if (file.has_thumbnail && !file.deleted_at)
    return (
      <img
        alt=""
        loading="lazy"
        src={`/api/v1/attachments/${file.id}/thumbnail`}
        className="size-11 shrink-0 rounded-control border border-hairline object-cover"
      />
    );
  const icon = { size: 20, strokeWidth: 1.5, "aria-hidden": true } as const;
  const [kind] = file.mime_type.split("/");
  return (
    <span className="flex size-11 shrink-0 items-center justify-center rounded-control bg-surface-quiet text-text-muted">
      {kind === "audio" ? (
        <AudioLines {...icon} />
      ) : kind === "video" ? (
        <Film {...icon} />
      ) : file.mime_type === "application/zip" ? (
        <Archive {...icon} />
      ) : (
        <FileText {...icon} />
      )}
    </span>
  );
}

/** Return the known dimensions, pages and duration. */
function measures({ metadata: { dimensions, pages, duration } }: Attachment): string[] {
  const facts: string[] = [];
  if (dimensions) facts.push(`${dimensions.width} × ${dimensions.height}`);
  if (pages) facts.push(pages === 1 ? "1 page" : `${wholeNumber(pages)} pages`);
  if (duration)
    facts.push(`${Math.floor(duration / 60)}:${String(Math.round(duration % 60)).padStart(2, "0")} min`);
  return facts;
}
