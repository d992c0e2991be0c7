import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Download, Upload } from "lucide-react";
import { useRef, useState } from "react";
import { sendFile } from "@/api/upload";
import { wordsFor } from "@/api/words";
import { relativeTime, wholeNumber } from "@/lib/dates";
import { fileSize } from "@/lib/sizes";
import { Button } from "@/ui/button";
import { Problem } from "@/ui/problem";
import { Badge, Row, Rows, Section } from "@/ui/section";
import {
  cancelImport,
  confirmExport,
  type ImportJob,
  importsQuery,
  isOpen,
  MAX_IMPORT_BYTES,
  undoImport,
} from "../queries";

const SOURCES = {
  tertulia: "Tertulia",
  chatgpt: "ChatGPT",
  claude: "Claude",
  openwebui: "Open WebUI",
  librechat: "LibreChat",
};

/** Export all data, and import chats from other products. */
export function Transfer() {
  const client = useQueryClient();
  const { data: jobs = [] } = useQuery(importsQuery);
  const [problem, setProblem] = useState<string>();
  const [sending, setSending] = useState<{ name: string; share: number; stop: AbortController }>();
  const picker = useRef<HTMLInputElement>(null);
  const attempt = async (work: () => Promise<unknown>) => {
    setProblem(undefined);
    try {
      await work();
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "AbortError")) setProblem(wordsFor(error));
    }
  };
  const exportAll = () =>
    attempt(async () => {
      await confirmExport();
      location.assign("/api/v1/export"); // a download: the page stays
    });
  const importFile = (file: File) =>
    attempt(async () => {
      const stop = new AbortController();
      setSending({ name: file.name, share: 0, stop });
      try {
        await sendFile<ImportJob>("/imports", file, {
          onProgress: (share) => setSending({ name: file.name, share, stop }),
          signal: stop.signal,
          mostBytes: MAX_IMPORT_BYTES,
        });
      } finally {
        setSending(undefined);
      }
      await client.invalidateQueries({ queryKey: ["imports"] });
    });
  return (
    <div className="flex flex-col gap-10">
      <Problem isBoxed words={problem} />
      <Section
        title="Export everything"
        hint="One zip with all your chats, their branches and files, and what each reply cost. Any Tertulia can import it."
        action={
          <Button onClick={() => void exportAll()}>
            <Download size={16} strokeWidth={1.5} aria-hidden /> Export
          </Button>
        }
      >
        {null}
      </Section>
      <Section
        title="Import"
        hint="The export of ChatGPT, Claude, Open WebUI, LibreChat or Tertulia, as zip or JSON. The same file twice adds nothing."
        action={
          <>
            <input
              ref={picker}
              type="file"
              accept=".zip,.json"
              hidden
              aria-hidden
              data-testid="import-picker"
              onChange={(event) => {
                const file = event.target.files?.[0];
                if (file) void importFile(file);
                event.target.value = "";
              }}
            />
            <Button disabled={sending !== undefined} onClick={() => picker.current?.click()}>
              <Upload size={16} strokeWidth={1.5} aria-hidden /> Choose a file
            </Button>
          </>
        }
      >
        {sending && (
          <div className="flex items-center gap-3">
            <Bar label={`${sending.name} is being sent`} share={sending.share} />
            <Button look="plain" onClick={() => sending.stop.abort()}>
              Cancel
            </Button>
          </div>
        )}
        {jobs.length > 0 && (
          <Rows>
            {jobs.map((job) => (
              <JobRow key={job.id} job={job} attempt={attempt} />
            ))}
          </Rows>
        )}
      </Section>
    </div>
  );
}

function JobRow({
  job,
  attempt,
}: {
  job: ImportJob;
  attempt: (work: () => Promise<unknown>) => Promise<void>;
}) {
  const client = useQueryClient();
  const [isWorking, setWorking] = useState(false);
  const act = (work: () => Promise<unknown>) => async () => {
    setWorking(true);
    await attempt(work);
    await client.invalidateQueries({ queryKey: ["imports"] });
    setWorking(false);
  };
  const hasMade = job.report.chats + job.report.drafts > 0 && job.status !== "undone";
  return (
    <Row
      actions={
        isOpen(job) ? (
          <Button disabled={isWorking} onClick={() => void act(() => cancelImport(job.id))()}>
            Stop
          </Button>
        ) : (
          hasMade && (
            <Button disabled={isWorking} onClick={() => void act(() => undoImport(job.id))()}>
              Undo
            </Button>
          )
        )
      }
    >
      <p className="flex min-w-0 items-center gap-2">
        <span className="truncate font-medium">{job.file_name}</span>
        <State job={job} />
      </p>
      <p className="text-sm text-text-muted">
        {[job.source && SOURCES[job.source], fileSize(job.size_bytes), relativeTime(job.created_at)]
          .filter(Boolean)
          .join(" · ")}
      </p>
      {isOpen(job) && (
        <Bar label={`${job.file_name} is being imported`} share={job.done_bytes / job.size_bytes} />
      )}
      {!(job.error && !hasMade) && <p role={isOpen(job) ? "status" : undefined}>{reportWords(job)}</p>}
      {job.error && <p className="text-danger">{job.error}</p>}
      {job.report.problems.length > 0 && (
        <details>
          <summary className="w-fit cursor-pointer text-sm text-text-muted">What is not as it was</summary>
          <ul className="list-disc pt-1 pl-5 text-sm">
            {job.report.problems.map((words) => (
              <li key={words}>{words}</li>
            ))}
          </ul>
        </details>
      )}
    </Row>
  );
}

function Bar({ label, share }: { label: string; share: number }) {
  return (
    <progress
      aria-label={label}
      value={share}
      max={1}
      className="h-2 w-full flex-1 appearance-none overflow-hidden rounded-full bg-surface-hover [&::-moz-progress-bar]:bg-accent [&::-webkit-progress-bar]:bg-surface-hover [&::-webkit-progress-value]:bg-accent"
    />
  );
}

function State({ job }: { job: ImportJob }) {
  switch (job.status) {
    case "failed":
      return <Badge tone="danger">failed</Badge>;
    case "completed":
      return <Badge>done</Badge>;
    case "cancelled":
      return <Badge>stopped</Badge>;
    case "undone":
      return <Badge>undone</Badge>;
    default:
      return <Badge tone="accent">{job.status === "queued" ? "waits" : "being imported"}</Badge>;
  }
}

function reportWords({ report, status }: ImportJob): string {
  if (status === "undone") return "Its chats are deleted, but for those in which was written since.";
  const words = [`${wholeNumber(report.chats)} chats with ${wholeNumber(report.messages)} messages taken`];
  if (report.drafts) words.push(`${wholeNumber(report.drafts)} drafts`);
  if (report.files) words.push(`${wholeNumber(report.files)} files`);
  if (report.already_there) words.push(`${wholeNumber(report.already_there)} were there already`);
  if (report.refused) words.push(`${wholeNumber(report.refused)} could not be taken`);
  return `${words.join(", ")}.`;
}
