import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Copy, KeyRound, MonitorSmartphone, TriangleAlert } from "lucide-react";
import { type ReactNode, useState } from "react";
import { wordsFor, wordsForField } from "@/api/words";
import { exactTime, relativeTime } from "@/lib/dates";
import { Button, IconButton } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Field } from "@/ui/field";
import { Problem } from "@/ui/problem";
import { Badge, Row, Rows, Section } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import {
  type ApiToken,
  apiTokensQuery,
  changePassword,
  createApiToken,
  type Device,
  devicesQuery,
  failedSignInsQuery,
  meQuery,
  revokeApiToken,
  revokeDevice,
} from "../queries";
import { DeleteAccount } from "./delete-account";

/** The password, the devices that are signed in, API tokens, and the end of the account. */
export function Security({ dataLink }: { dataLink: ReactNode }) {
  return (
    <div className="flex flex-col gap-10">
      <Password />
      <Devices />
      <Tokens />
      <DeleteAccount dataLink={dataLink} />
    </div>
  );
}

function Password() {
  const client = useQueryClient();
  const { say } = useToast();
  const [password, setPassword] = useState("");
  const [fresh, setFresh] = useState("");
  const changing = useMutation({
    mutationFn: changePassword,
    onSuccess: (user) => {
      client.setQueryData(meQuery.queryKey, user);
      void client.invalidateQueries({ queryKey: devicesQuery.queryKey });
      setPassword("");
      setFresh("");
      say("Your password is changed. Your other devices are signed out.");
    },
  });
  const fieldError = (field: string) => wordsForField(changing.error, field);
  const isTold = fieldError("password") ?? fieldError("new_password");
  return (
    <Section title="Password" hint="Changing it signs out every other device.">
      <form
        className="flex flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          changing.mutate({ password, new_password: fresh });
        }}
      >
        <Field
          label="Current password"
          type="password"
          autoComplete="current-password"
          value={password}
          error={fieldError("password")}
          onChange={(event) => setPassword(event.target.value)}
        />
        <Field
          label="New password"
          type="password"
          autoComplete="new-password"
          hint="12 characters or more. A few words in a row are good."
          value={fresh}
          error={fieldError("new_password")}
          onChange={(event) => setFresh(event.target.value)}
        />
        <Problem words={changing.error && !isTold && wordsFor(changing.error)} />
        <Button
          look="primary"
          type="submit"
          className="self-start"
          disabled={!password || !fresh || changing.isPending}
        >
          Change password
        </Button>
      </form>
    </Section>
  );
}

/** Tell the owner of wrong passwords that were entered for the account. */
function FailedSignIns() {
  const { data } = useQuery(failedSignInsQuery);
  if (!data?.count || !data.last_at) return null;
  const times = data.count === 1 ? "A wrong password was" : `${data.count} wrong passwords were`;
  return (
    <p className="mb-3 flex items-start gap-2 rounded-control bg-warning-quiet px-3 py-2 text-warning">
      <TriangleAlert size={16} strokeWidth={1.5} aria-hidden className="mt-1 shrink-0" />
      <span>
        {times} entered for your account in the last 30 days, the last one{" "}
        <time dateTime={data.last_at} title={exactTime(data.last_at)}>
          {relativeTime(data.last_at)}
        </time>
        {data.last_address && ` from ${data.last_address}`}. If that was not you, choose a long password that
        you use nowhere else.
      </span>
    </p>
  );
}

function Devices() {
  const client = useQueryClient();
  const { say } = useToast();
  const devices = useInfiniteQuery(devicesQuery);
  const revoking = useMutation({
    mutationFn: revokeDevice,
    onSettled: () => client.invalidateQueries({ queryKey: devicesQuery.queryKey }),
    onError: (error) => say(wordsFor(error)),
  });
  return (
    <Section
      title="Devices"
      hint="Where you are signed in. Sign out what you do not know, and change your password."
    >
      <FailedSignIns />
      <Listed query={devices}>
        {(items) =>
          items.map((device: Device) => (
            <Row
              key={device.id}
              actions={
                device.is_current ? (
                  <Badge tone="accent">This device</Badge>
                ) : (
                  <Button disabled={revoking.isPending} onClick={() => revoking.mutate(device.id)}>
                    Sign out
                  </Button>
                )
              }
            >
              <p className="flex items-center gap-2">
                <MonitorSmartphone size={16} strokeWidth={1.5} aria-hidden className="text-text-muted" />
                {[device.browser, device.platform].filter((word) => word && word !== "Other").join(" on ") ||
                  "A device"}
              </p>
              <p className="text-sm text-text-muted">
                <span title={exactTime(device.last_active_at)}>
                  Active {relativeTime(device.last_active_at)}
                </span>
                {device.ip_address && ` · ${device.ip_address}`}
                <span title={exactTime(device.started_at)}> · since {relativeTime(device.started_at)}</span>
              </p>
            </Row>
          ))
        }
      </Listed>
    </Section>
  );
}

function Tokens() {
  const client = useQueryClient();
  const { say } = useToast();
  const tokens = useInfiniteQuery(apiTokensQuery);
  const [isMaking, setMaking] = useState(false);
  const revoking = useMutation({
    mutationFn: revokeApiToken,
    onSettled: () => client.invalidateQueries({ queryKey: apiTokensQuery.queryKey }),
    onError: (error) => say(wordsFor(error)),
  });
  return (
    <Section
      title="API tokens"
      hint="For programs of yours. A token can do what you can, within its scopes."
      action={<Button onClick={() => setMaking(true)}>New token</Button>}
    >
      <Listed query={tokens} empty="No tokens yet.">
        {(items) =>
          items.map((token: ApiToken) => (
            <Row
              key={token.id}
              actions={
                <Button disabled={revoking.isPending} onClick={() => revoking.mutate(token.id)}>
                  Revoke
                </Button>
              }
            >
              <p className="flex items-center gap-2">
                <KeyRound size={16} strokeWidth={1.5} aria-hidden className="text-text-muted" />
                <span className="truncate">{token.name}</span>
                <code className="font-mono text-sm text-text-muted">{token.prefix}…</code>
              </p>
              <p className="text-sm text-text-muted">
                {token.scopes.join(", ")}
                {token.last_used_at ? ` · used ${relativeTime(token.last_used_at)}` : " · not used yet"}
                {token.expires_at && ` · until ${relativeTime(token.expires_at)}`}
              </p>
            </Row>
          ))
        }
      </Listed>
      <Dialog title="New API token" isOpen={isMaking} onClose={() => setMaking(false)}>
        {isMaking && <TokenForm onDone={() => setMaking(false)} />}
      </Dialog>
    </Section>
  );
}

const SCOPES = [
  { scope: "read", words: "Read chats, messages and usage" },
  { scope: "write", words: "Send messages and change things" },
  { scope: "admin", words: "Manage other people" },
] as const;
type Scope = (typeof SCOPES)[number]["scope"];

function TokenForm({ onDone }: { onDone: () => void }) {
  const client = useQueryClient();
  const isAdmin = client.getQueryData(meQuery.queryKey)?.role === "admin";
  const [key] = useState(() => crypto.randomUUID());
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<Scope[]>(["read", "write"]);
  const [days, setDays] = useState("");
  const making = useMutation({
    mutationFn: () =>
      createApiToken(
        {
          name,
          scopes,
          expires_at: days ? new Date(Date.now() + Number(days) * 86_400_000).toISOString() : null,
        },
        key,
      ),
    onSuccess: () => client.invalidateQueries({ queryKey: apiTokensQuery.queryKey }),
  });
  if (making.data) return <TokenShown token={making.data.token} onDone={onDone} />;
  return (
    <form
      className="flex flex-col gap-4"
      onSubmit={(event) => {
        event.preventDefault();
        making.mutate();
      }}
    >
      <Field
        label="What it is for"
        placeholder="Backup script"
        maxLength={100}
        autoFocus
        value={name}
        onChange={(event) => setName(event.target.value)}
      />
      <fieldset className="flex flex-col gap-1">
        <legend className="pb-1 font-medium">What it may do</legend>
        {SCOPES.filter(({ scope }) => scope !== "admin" || isAdmin).map(({ scope, words }) => (
          <label key={scope} className="flex min-h-9 items-center gap-3">
            <input
              type="checkbox"
              className="size-5 accent-(--accent)"
              checked={scopes.includes(scope)}
              onChange={(event) =>
                setScopes(event.target.checked ? [...scopes, scope] : scopes.filter((item) => item !== scope))
              }
            />
            {words}
          </label>
        ))}
      </fieldset>
      <Field
        label="Days until it ends"
        hint="Empty: until you revoke it."
        type="number"
        min={1}
        max={3650}
        value={days}
        onChange={(event) => setDays(event.target.value)}
      />
      <Problem words={making.error && wordsFor(making.error)} />
      <Button
        look="primary"
        type="submit"
        className="self-start"
        disabled={!name.trim() || scopes.length === 0 || making.isPending}
      >
        Make token
      </Button>
    </form>
  );
}

function TokenShown({ token, onDone }: { token: string | null; onDone: () => void }) {
  const { say } = useToast();
  if (!token) return <p>This token was shown already. Revoke it and make another one.</p>;
  return (
    <div className="flex flex-col gap-4">
      <p>Copy it now: it is shown this once and kept nowhere.</p>
      <div className="flex items-center gap-2 rounded-card bg-surface-quiet p-3">
        <code className="min-w-0 flex-1 break-all font-mono text-sm">{token}</code>
        <IconButton
          label="Copy the token"
          onClick={() => void navigator.clipboard.writeText(token).then(() => say("Copied."))}
        >
          <Copy size={16} strokeWidth={1.5} aria-hidden />
        </IconButton>
      </div>
      <Button look="primary" className="self-start" onClick={onDone}>
        Done
      </Button>
    </div>
  );
}

type ListQuery<T> = {
  data?: { pages: { items: T[] }[] };
  error: Error | null;
  isPending: boolean;
  hasNextPage: boolean;
  fetchNextPage: () => unknown;
  refetch: () => unknown;
};

/** A list with its loading, error, empty and paged states. */
export function Listed<T>({
  query,
  empty = "Nothing here yet.",
  children,
}: {
  query: ListQuery<T>;
  empty?: string;
  children: (items: T[]) => React.ReactNode;
}) {
  if (query.isPending) return <Lines widths={["w-2/3", "w-1/2"]} />;
  if (!query.data) return <Failed words={wordsFor(query.error)} onRetry={() => void query.refetch()} />;
  const items = query.data.pages.flatMap((page) => page.items);
  if (items.length === 0) return <p className="text-text-muted">{empty}</p>;
  return (
    <>
      <Rows>{children(items)}</Rows>
      {query.hasNextPage && (
        <Button look="plain" className="self-start" onClick={() => void query.fetchNextPage()}>
          Show more
        </Button>
      )}
    </>
  );
}
