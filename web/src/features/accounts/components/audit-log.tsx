import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { wordsFor } from "@/api/words";
import { exactTime, relativeTime } from "@/lib/dates";
import { useSettled } from "@/lib/use-settled";
import { Button } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Field } from "@/ui/field";
import { Problem } from "@/ui/problem";
import { Failed, Lines } from "@/ui/states";
import { Table } from "@/ui/table";
import {
  type AuditEntry,
  type AuditFilter,
  auditActionsQuery,
  auditExportPath,
  auditQuery,
} from "../queries";
import { ACTION_WORDS } from "./audit-words";

const TYPING_MS = 300;

/** Who did what on this server, for administrators: by person, action and day, as a list and as a file. */
export function AuditLog() {
  const [username, setUsername] = useState("");
  const [action, setAction] = useState("");
  const [since, setSince] = useState("");
  const [until, setUntil] = useState("");
  const filter: AuditFilter = {
    username: useSettled(username.trim(), TYPING_MS) || undefined,
    action: action || undefined,
    since: startOf(since),
    until: startOf(until, 1),
  };
  const actions = useQuery(auditActionsQuery);
  const log = useInfiniteQuery(auditQuery(filter));
  const entries = log.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <div className="flex flex-col gap-6">
      <search className="grid grid-cols-1 items-end gap-4 sm:grid-cols-2">
        <Field
          label="Who"
          placeholder="User name"
          value={username}
          maxLength={254}
          onChange={(event) => setUsername(event.target.value)}
        />
        <Choice
          showLabel
          label="What"
          value={action}
          options={[
            { value: "", label: "Everything" },
            ...(actions.data ?? []).map((name) => ({ value: name, label: wordsOfAction(name) })),
          ]}
          onChoose={setAction}
        />
        <Field label="From" type="date" value={since} onChange={(event) => setSince(event.target.value)} />
        <Field label="To" type="date" value={until} onChange={(event) => setUntil(event.target.value)} />
      </search>
      <p className="flex flex-wrap gap-x-4 gap-y-1 text-sm">
        {(["csv", "jsonl"] as const).map((format) => (
          <a key={format} className="text-accent underline" href={auditExportPath(filter, format)} download>
            {format === "csv" ? "Download as CSV" : "Download as JSON lines"}
          </a>
        ))}
      </p>
      {!log.data && log.error ? (
        <Failed words={wordsFor(log.error)} onRetry={() => void log.refetch()} />
      ) : !log.data ? (
        <Lines widths={["w-full", "w-2/3", "w-full"]} />
      ) : entries.length === 0 ? (
        <p className="text-text-muted">Nothing was recorded that fits.</p>
      ) : (
        <Entries entries={entries} />
      )}
      <Problem words={log.data && log.error && wordsFor(log.error)} />
      {log.hasNextPage && (
        <Button className="self-center" onClick={() => void log.fetchNextPage()}>
          {log.isFetchingNextPage ? "Loading …" : "Show older entries"}
        </Button>
      )}
    </div>
  );
}

function Entries({ entries }: { entries: AuditEntry[] }) {
  return (
    <Table
      columns={[{ title: "When" }, { title: "Who" }, { title: "What" }, { title: "Address" }]}
      rows={entries.map((entry) => ({
        key: entry.id,
        cells: [
          <time key="when" dateTime={entry.created_at} title={exactTime(entry.created_at)}>
            {relativeTime(entry.created_at)}
          </time>,
          entry.user ? `${entry.user.name} (${entry.user.username})` : "Command line or deleted account",
          entry.entity_name
            ? `${wordsOfAction(entry.action)}: ${entry.entity_name}`
            : wordsOfAction(entry.action),
          entry.ip_address ?? "–",
        ],
      }))}
    />
  );
}

/** Say what an action is; one that is not known here is shown as it is stored. */
function wordsOfAction(action: string): string {
  return ACTION_WORDS[action] ?? action;
}

/** Return the start of a day in the person's time zone, or of a day after it. */
function startOf(day: string, later = 0): string | undefined {
  if (!day) return undefined;
  const moment = new Date(`${day}T00:00`);
  if (Number.isNaN(moment.getTime())) return undefined;
  moment.setDate(moment.getDate() + later);
  return moment.toISOString();
}
