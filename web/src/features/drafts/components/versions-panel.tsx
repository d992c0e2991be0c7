import { useInfiniteQuery, useQueryClient } from "@tanstack/react-query";
import { Bot, GitCompare, Pencil, PenLine, RotateCcw, X } from "lucide-react";
import { useMemo, useRef, useState } from "react";
import { wordsFor } from "@/api/words";
import { exactTime, relativeTime, wholeNumber } from "@/lib/dates";
import { Button, IconButton } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { Failed, Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import { nameVersion, type VersionListed, versionsQuery } from "../queries";
import { type Drawn, drawTree } from "../tree";

type Props = {
  draftId: string;
  canWrite: boolean;
  currentNumber: number;
  onCompare: (number: number, against: number) => void;
  onRestore: (number: number) => Promise<void>;
  onClose: () => void;
};

const LANE = 14; // pixels
const MIDDLE = 28; // of a collapsed row, in pixels
const MOST_LANES = 8; // drawn; further lanes overlap the last

/** All versions as a tree, with arrow keys. Versions are never overwritten. */
export function VersionsPanel({ draftId, canWrite, currentNumber, onCompare, onRestore, onClose }: Props) {
  const query = useInfiniteQuery(versionsQuery(draftId));
  const versions = useMemo(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data]);
  const rows = useMemo(() => drawTree(versions), [versions]);
  const [chosen, setChosen] = useState<number>();
  const list = useRef<HTMLUListElement>(null);
  const at = Math.max(
    0,
    versions.findIndex((version) => version.version_number === (chosen ?? currentNumber)),
  );
  const step = (by: number) => {
    const next = versions[Math.min(versions.length - 1, Math.max(0, at + by))];
    if (!next) return;
    setChosen(next.version_number);
    const row = list.current?.querySelector<HTMLElement>(`[data-version="${next.version_number}"]`);
    row?.focus();
  };
  const lanes = Math.max(1, ...rows.map((row) => Math.max(row.lane, ...row.passing) + 1));
  return (
    <div className="flex min-h-0 flex-1 flex-col">
      <header className="flex min-h-14 items-center justify-between gap-2 border-hairline border-b px-4">
        <h2 className="font-semibold text-md">Versions</h2>
        <IconButton label="Close the versions" onClick={onClose}>
          <X size={18} strokeWidth={1.5} aria-hidden />
        </IconButton>
      </header>
      <div className="min-h-0 flex-1 overflow-y-auto p-2">
        {query.error ? (
          <Failed words={wordsFor(query.error)} onRetry={() => void query.refetch()} />
        ) : query.isPending ? (
          <Lines widths={["w-full", "w-5/6", "w-full"]} />
        ) : (
          <ul
            ref={list}
            aria-label="Versions, the newest first"
            onKeyDown={(event) => {
              const by = { ArrowDown: 1, ArrowUp: -1, Home: -versions.length, End: versions.length }[
                event.key
              ];
              if (by === undefined || event.target instanceof HTMLInputElement) return;
              event.preventDefault();
              step(by);
            }}
          >
            {rows.map((row) => (
              <Row
                key={row.version.id}
                draftId={draftId}
                canWrite={canWrite}
                row={row}
                lanes={lanes}
                isCurrent={row.version.version_number === currentNumber}
                isChosen={versions[at] === row.version}
                onChoose={() => setChosen(row.version.version_number)}
                onCompare={onCompare}
                currentNumber={currentNumber}
                onRestore={onRestore}
              />
            ))}
          </ul>
        )}
        {query.hasNextPage && (
          <Button disabled={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
            Show older ones
          </Button>
        )}
      </div>
    </div>
  );
}

type RowProps = {
  draftId: string;
  canWrite: boolean;
  row: Drawn;
  lanes: number;
  isCurrent: boolean;
  isChosen: boolean;
  currentNumber: number;
  onChoose: () => void;
} & Pick<Props, "onCompare" | "onRestore">;

function Row(props: RowProps) {
  const { draftId, row, lanes, isCurrent, isChosen, currentNumber, onChoose } = props;
  const { version } = row;
  const client = useQueryClient();
  const { say } = useToast();
  const [isNaming, setNaming] = useState(false);
  const number = version.version_number;
  const restore = async () => {
    try {
      await props.onRestore(number);
    } catch (error) {
      say(wordsFor(error));
    }
  };
  const name = async (words: string) => {
    setNaming(false);
    try {
      await nameVersion(draftId, number, words.trim() || null);
      await client.invalidateQueries({ queryKey: ["draft-versions", draftId] });
    } catch (error) {
      say(wordsFor(error));
    }
  };
  return (
    <li className={cx("flex rounded-card", isChosen && "bg-surface-quiet")}>
      <Lanes row={row} lanes={lanes} isCurrent={isCurrent} />
      <div className="flex min-w-0 flex-1 flex-col">
        {isNaming ? (
          <input
            // biome-ignore lint/a11y/noAutofocus: the person asked to name it just now
            autoFocus
            aria-label={`Name of version ${number}`}
            defaultValue={version.name ?? ""}
            maxLength={255}
            onBlur={(event) => void name(event.target.value)}
            onKeyDown={(event) => {
              if (event.key === "Enter") event.currentTarget.blur();
              if (event.key === "Escape") setNaming(false);
            }}
            className="my-2 min-h-9 min-w-0 flex-1 rounded-control border border-hairline-strong bg-surface-raised px-2"
          />
        ) : (
          <button
            type="button"
            data-version={number}
            tabIndex={isChosen ? 0 : -1}
            aria-expanded={isChosen}
            onClick={onChoose}
            className="min-h-14 min-w-0 rounded-card px-2 text-left hover:bg-surface-hover"
          >
            <span className="flex items-center gap-2">
              <span className="min-w-0 truncate font-medium">{version.name || `Version ${number}`}</span>
              {isCurrent && <span className="shrink-0 text-accent text-sm">now</span>}
              <span
                className="ml-auto shrink-0 text-sm text-text-muted tabular-nums"
                title={exactTime(version.created_at)}
              >
                {relativeTime(version.created_at)}
              </span>
            </span>
            <span className="flex items-center gap-1 text-sm text-text-muted">
              <Source version={version} />
              <span className="ml-auto tabular-nums">{wholeNumber(version.words)} words</span>
            </span>
          </button>
        )}
        {isChosen && !isNaming && (
          <div className="flex flex-wrap gap-1 px-2 pb-2">
            {!isCurrent && (
              <Button className="text-sm" onClick={() => props.onCompare(currentNumber, number)}>
                <GitCompare size={14} strokeWidth={1.5} aria-hidden /> Compare with now
              </Button>
            )}
            {version.parent_version_number && (
              <Button
                className="text-sm"
                onClick={() => props.onCompare(number, version.parent_version_number ?? number)}
              >
                <GitCompare size={14} strokeWidth={1.5} aria-hidden /> What changed
              </Button>
            )}
            {!isCurrent && props.canWrite && (
              <Button
                className="text-sm"
                title="As the newest version, on a branch from this one: what one writes then goes on from here"
                onClick={() => void restore()}
              >
                <RotateCcw size={14} strokeWidth={1.5} aria-hidden /> Restore
              </Button>
            )}
            {props.canWrite && (
              <Button className="text-sm" onClick={() => setNaming(true)}>
                <Pencil size={14} strokeWidth={1.5} aria-hidden /> Name
              </Button>
            )}
          </div>
        )}
      </div>
    </li>
  );
}

/** The author: a user, or a model that a user asked. */
function Source({ version }: { version: VersionListed }) {
  const isModels = version.generation_source !== "user";
  const Icon = isModels ? Bot : PenLine;
  const who = isModels ? (version.model_name ?? "A model") : (version.author?.name ?? "A person");
  const what = version.base_version_number
    ? " · merged"
    : version.generation_source === "ai_edit"
      ? " · edits taken"
      : "";
  return (
    <>
      <Icon
        size={14}
        strokeWidth={1.5}
        aria-hidden
        className={cx("shrink-0", isModels ? "text-model" : "text-person")}
      />
      <span className="min-w-0 truncate">
        {who}
        {what}
      </span>
    </>
  );
}

function Lanes({ row, lanes, isCurrent }: { row: Drawn; lanes: number; isCurrent: boolean }) {
  const x = (lane: number) => Math.min(lane, MOST_LANES - 1) * LANE + LANE / 2;
  return (
    <svg
      aria-hidden="true"
      width={Math.min(lanes, MOST_LANES) * LANE}
      className="min-h-full shrink-0 self-stretch text-hairline-strong"
    >
      <g stroke="currentColor" strokeWidth={1.5} fill="none">
        {row.passing.map((lane) => (
          <line key={lane} x1={x(lane)} y1={0} x2={x(lane)} y2="100%" />
        ))}
        {row.from.map((lane) => (
          <path
            key={lane}
            d={
              lane === row.lane
                ? `M${x(lane)} 0V${MIDDLE}`
                : `M${x(lane)} 0Q${x(lane)} ${MIDDLE} ${x(row.lane)} ${MIDDLE}`
            }
          />
        ))}
        {row.version.parent_version_number && (
          <line x1={x(row.lane)} y1={MIDDLE} x2={x(row.lane)} y2="100%" />
        )}
      </g>
      <circle
        cx={x(row.lane)}
        cy={MIDDLE}
        r={isCurrent ? 5 : 4}
        className={row.version.generation_source === "user" ? "fill-person" : "fill-model"}
      />
    </svg>
  );
}
