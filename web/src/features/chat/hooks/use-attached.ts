import { useQueries, useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { sendFile } from "@/api/upload";
import { wordsFor } from "@/api/words";
import { keepText, readKeptText } from "@/lib/kept-text";
import { type Attachment, attachmentQuery } from "../files";

export const MOST_FILES = 20;

type Upload = {
  key: string;
  name: string;
  size: number;
  share: number;
  stop: AbortController;
  problem?: string;
};
/** A file of the message being written. */
export type Attached = {
  key: string;
  name: string;
  size: number;
  state: "uploading" | "reading" | "ready" | "failed";
  share: number; // uploaded share, 0 to 1
  problem?: string;
  attachment?: Attachment;
};

/** The files of the message being written. They are uploaded when chosen and kept over reloads until the message is sent. */
export function useAttached(place: string) {
  const client = useQueryClient();
  const kept = `${place}.files`;
  const [ids, setIds] = useState<string[]>(() => readIds(kept));
  const [uploads, setUploads] = useState<Upload[]>([]);
  const [problem, setProblem] = useState<string>();
  const count = useRef(0);
  count.current = ids.length + uploads.length;
  useEffect(() => {
    setIds(readIds(kept));
    setUploads([]);
    setProblem(undefined);
  }, [kept]);
  const store = useCallback(
    (change: (before: string[]) => string[]) =>
      setIds((before) => {
        const after = change(before);
        keepText(kept, after.length ? JSON.stringify(after) : "");
        return after;
      }),
    [kept],
  );

  const add = useCallback(
    (files: Iterable<File>) => {
      setProblem(undefined);
      for (const file of files) {
        if (count.current >= MOST_FILES) {
          setProblem(`A message takes ${MOST_FILES} files. Send the rest with a second one.`);
          return;
        }
        count.current++;
        const upload: Upload = {
          key: crypto.randomUUID(),
          name: file.name,
          size: file.size,
          share: 0,
          stop: new AbortController(),
        };
        const change = (fields: Partial<Upload>) =>
          setUploads((all) => all.map((item) => (item.key === upload.key ? { ...item, ...fields } : item)));
        setUploads((all) => [...all, upload]);
        sendFile("/attachments", file, {
          onProgress: (share) => change({ share }),
          signal: upload.stop.signal,
        })
          .then((module) => {
            // An event may already have brought a newer state than this answer.
            client.setQueryData<Attachment>(["attachment", module.id], (known) => known ?? module);
            setUploads((all) => all.filter((item) => item.key !== upload.key));
            store((before) => [...before, module.id]);
          })
          .catch((error) => {
            if (upload.stop.signal.aborted)
              setUploads((all) => all.filter((item) => item.key !== upload.key));
            else change({ problem: wordsFor(error) });
          });
      }
    },
    [client, store],
  );
  const remove = useCallback(
    (key: string) => {
      setProblem(undefined);
      setUploads((all) => {
        all.find((item) => item.key === key)?.stop.abort();
        return all.filter((item) => item.key !== key);
      });
      store((before) => before.filter((id) => id !== key));
    },
    [store],
  );
  /** Remove the files to send them; `putBack` restores them if sending fails. */
  const take = useCallback(() => {
    const taken = ids;
    store(() => []);
    const putBack = () => {
      const all = [...taken, ...readIds(kept)]; // from storage, because another chat may be shown now
      keepText(kept, all.length ? JSON.stringify(all) : "");
      setIds(all);
    };
    return { ids: taken, putBack };
  }, [ids, kept, store]);

  const attachments = useQueries({ queries: ids.map((id) => attachmentQuery(id)) });
  const items = useMemo<Attached[]>(
    () => [
      ...ids.map((id, index): Attached => {
        const query = attachments[index];
        const attachment = query?.data;
        return {
          key: id,
          name: attachment?.file_name ?? "File",
          size: attachment?.file_size ?? 0,
          share: 1,
          attachment,
          problem: query?.error
            ? "It is not there any more."
            : attachment?.status === "error"
              ? `Kept, but models cannot read it. ${attachment.metadata.problem ?? ""}`
              : undefined,
          state: query?.error
            ? "failed"
            : !attachment || attachment.status === "processing"
              ? "reading"
              : "ready",
        };
      }),
      ...uploads.map(
        ({ key, name, size, share, problem }): Attached => ({
          key,
          name,
          size,
          share,
          problem,
          state: problem ? "failed" : "uploading",
        }),
      ),
    ],
    [ids, attachments, uploads],
  );
  const read = items.flatMap((item) => item.attachment ?? []);
  const isPicture = (file: Attachment) => file.mime_type.startsWith("image/");
  return {
    items,
    add,
    remove,
    take,
    problem,
    /** Characters of the texts, and the number of pictures. */
    characters: read.reduce((sum, file) => sum + (file.metadata.text_length ?? 0), 0),
    pictures: read.filter(isPicture).length,
  };
}

function readIds(kept: string): string[] {
  try {
    const read: unknown = JSON.parse(readKeptText(kept) || "[]");
    return Array.isArray(read) ? read.filter((id) => typeof id === "string") : [];
  } catch {
    return [];
  }
}
