import { useQuery } from "@tanstack/react-query";
import { CircleCheck, TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";
import { wordsFor } from "@/api/words";
import { exactTime, relativeTime, wholeNumber } from "@/lib/dates";
import { Rows } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
import { Table } from "@/ui/table";
import { type Report, securityReportQuery } from "../queries";

const DAY_MS = 86_400_000;
const BACKUP_DAYS = 7;
const TEST_DAYS = 90;
const ADVISORY_DAYS = 30;

/** What an administrator should know about the security of this server, each with the next step. */
export function SecurityReport() {
  const { data, error, refetch } = useQuery(securityReportQuery);
  if (error) return <Failed words={wordsFor(error)} onRetry={() => void refetch()} />;
  if (!data) return <Lines widths={["w-full", "w-2/3", "w-full", "w-1/2"]} />;
  return (
    <>
      <p className="mb-4 text-text-muted">
        Tertulia {data.version} · Python {data.python_version} ·{" "}
        {data.database === "sqlite" ? "SQLite" : "PostgreSQL"}
      </p>
      <Rows>
        <Exposure exposure={data.exposure} />
        <Vulnerabilities known={data.vulnerabilities} />
        <Backup note={data.last_backup} />
        <TestedRestore note={data.last_tested_restore} />
        <FailedSignIns accounts={data.failed_sign_ins} />
        <UnusedTokens tokens={data.unused_tokens} />
        <Limits changed={data.changed_limits} />
      </Rows>
    </>
  );
}

function Item({ title, isGood, children }: { title: string; isGood: boolean; children: ReactNode }) {
  const Icon = isGood ? CircleCheck : TriangleAlert;
  return (
    <li className="flex gap-3 py-4">
      <Icon
        size={20}
        strokeWidth={1.5}
        aria-label={isGood ? "Good" : "Needs attention"}
        className={`mt-0.5 shrink-0 ${isGood ? "text-success" : "text-warning"}`}
      />
      <div className="flex min-w-0 flex-1 flex-col gap-1">
        <h2 className="font-medium">{title}</h2>
        <div className="text-text-muted">{children}</div>
      </div>
    </li>
  );
}

function Command({ children }: { children: string }) {
  return (
    <code className="break-words rounded-control bg-surface-quiet px-1.5 py-0.5 text-sm">{children}</code>
  );
}

function When({ moment }: { moment: string }) {
  return (
    <time dateTime={moment} title={exactTime(moment)}>
      {relativeTime(moment)}
    </time>
  );
}

const isRecent = (moment: string, days: number) => Date.now() - new Date(moment).getTime() < days * DAY_MS;

function Exposure({ exposure }: { exposure: Report["exposure"] }) {
  const texts = {
    this_machine: "Only this machine can reach the server.",
    tls: "Connections are encrypted.",
    without_tls:
      "Others in the network can read passwords and chats. Put a proxy with TLS in front, and set TERTULIA_PUBLIC_URL to its https address.",
  };
  return (
    <Item title="Encryption" isGood={exposure !== "without_tls"}>
      {texts[exposure]}
    </Item>
  );
}

function Vulnerabilities({ known }: { known: Report["vulnerabilities"] }) {
  const isGood =
    known.refreshed_at !== null && known.affected.length === 0 && isRecent(known.refreshed_at, ADVISORY_DAYS);
  return (
    <Item title="Known vulnerabilities" isGood={isGood}>
      {known.problem ? (
        known.problem
      ) : known.refreshed_at === null ? (
        <>
          Not checked yet. Run <Command>tertulia security refresh</Command> on the server.
        </>
      ) : (
        <>
          {known.affected.length === 0
            ? `None in ${wholeNumber(known.packages)} packages.`
            : `${known.affected.length} in ${wholeNumber(known.packages)} packages. Install the newest version of Tertulia.`}{" "}
          Advisories of <When moment={known.refreshed_at} />
          {isRecent(known.refreshed_at, ADVISORY_DAYS) ? (
            "."
          ) : (
            <>
              : run <Command>tertulia security refresh</Command> on the server.
            </>
          )}
          {known.affected.length > 0 && (
            <ul className="mt-2 flex flex-col gap-2">
              {known.affected.map((found) => (
                <li key={`${found.package} ${found.id}`}>
                  <span className="text-text">
                    {found.package} {found.version}
                  </span>
                  {found.severity && ` (${found.severity})`}: {found.summary}{" "}
                  <a
                    className="text-accent underline"
                    href={`https://osv.dev/vulnerability/${encodeURIComponent(found.id)}`}
                    target="_blank"
                    rel="noreferrer"
                  >
                    {found.id}
                  </a>
                  {found.fixed_in && ` · fixed in ${found.fixed_in}`}
                </li>
              ))}
            </ul>
          )}
        </>
      )}
    </Item>
  );
}

function Backup({ note }: { note: Report["last_backup"] }) {
  return (
    <Item title="Last backup" isGood={note !== null && isRecent(note.at, BACKUP_DAYS)}>
      {note ? (
        <>
          <When moment={note.at} />: {note.file}, {wholeNumber(note.rows)} rows and {wholeNumber(note.files)}{" "}
          files.
        </>
      ) : (
        <>
          No backup was made from this data folder. Run <Command>tertulia backup FILE</Command> every day.
        </>
      )}
    </Item>
  );
}

function TestedRestore({ note }: { note: Report["last_tested_restore"] }) {
  return (
    <Item title="Last tested restore" isGood={note !== null && isRecent(note.at, TEST_DAYS)}>
      {note ? (
        <>
          <When moment={note.at} />: {note.file} was restored and checked.
        </>
      ) : (
        <>
          No backup was tested. Run <Command>tertulia restore --test FILE</Command>, which changes nothing.
        </>
      )}
    </Item>
  );
}

function FailedSignIns({ accounts }: { accounts: Report["failed_sign_ins"] }) {
  return (
    <Item title="Failed sign-ins" isGood={accounts.length === 0}>
      {accounts.length === 0 ? (
        "No wrong passwords in the last 30 days."
      ) : (
        <Table
          columns={[{ title: "User name" }, { title: "Wrong passwords in 30 days" }, { title: "Last" }]}
          rows={accounts.map(({ username, count, last_at }) => ({
            key: username,
            cells: [username, wholeNumber(count), <When key="last" moment={last_at} />],
          }))}
        />
      )}
    </Item>
  );
}

function UnusedTokens({ tokens }: { tokens: Report["unused_tokens"] }) {
  return (
    <Item title="Unused API tokens" isGood={tokens.length === 0}>
      {tokens.length === 0 ? (
        "No API token is unused for 90 days."
      ) : (
        <>
          Ask their owners to revoke them under Password and devices.
          <Table
            columns={[{ title: "User name" }, { title: "Tokens unused for 90 days" }, { title: "Last used" }]}
            rows={tokens.map(({ username, count, last_used_at }) => ({
              key: username,
              cells: [
                username,
                wholeNumber(count),
                last_used_at ? <When key="last" moment={last_used_at} /> : "never",
              ],
            }))}
          />
        </>
      )}
    </Item>
  );
}

function Limits({ changed }: { changed: Report["changed_limits"] }) {
  return (
    <Item title="Changed limits" isGood>
      {changed.length === 0 ? (
        "All limits have their default."
      ) : (
        <Table
          columns={[{ title: "Setting" }, { title: "Value" }, { title: "Default" }]}
          rows={changed.map((limit) => ({
            key: limit.setting,
            cells: [limit.setting, limit.value, limit.default],
          }))}
        />
      )}
    </Item>
  );
}
