import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { ChevronRight, MoreHorizontal, Plus, X } from "lucide-react";
import { useState } from "react";
import { ApiError } from "@/api/client";
import { wordsFor } from "@/api/words";
import { relativeTime } from "@/lib/dates";
import { dollars } from "@/lib/money";
import { Button, IconButton } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Field } from "@/ui/field";
import { Menu } from "@/ui/menu";
import { Badge, Row, Rows, Section } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import {
  createServer,
  refreshServer,
  removeServer,
  type ToolServer,
  toolServersQuery,
  updateServer,
} from "../queries";
import { Definition, PlainText } from "./values";

/** MCP servers: one's own are added, looked at and removed; the operator's are shown. */
export function ToolServers() {
  const servers = useQuery(toolServersQuery);
  const [editing, setEditing] = useState<ToolServer | "new">();
  const client = useQueryClient();
  const refresh = async () => {
    await client.invalidateQueries({ queryKey: ["tool-servers"] });
    await client.invalidateQueries({ queryKey: ["tools"] });
  };
  return (
    <Section
      title="Servers"
      hint="MCP servers bring more tools. They always count as of high risk: what a server says of itself decides nothing."
      action={<Button onClick={() => setEditing("new")}>Add a server</Button>}
    >
      {servers.error ? (
        <Failed words={wordsFor(servers.error)} onRetry={() => void servers.refetch()} />
      ) : !servers.data ? (
        <Lines widths={["w-2/3", "w-1/2"]} />
      ) : servers.data.length === 0 ? (
        <p className="text-text-muted">
          None yet. With a server's address, its tools can be chosen in every chat.
        </p>
      ) : (
        <Rows>
          {servers.data.map((server) => (
            <ServerRow
              key={server.id ?? server.name}
              server={server}
              onEdit={() => setEditing(server)}
              onChanged={refresh}
            />
          ))}
        </Rows>
      )}
      <Dialog
        title={editing === "new" ? "Add a server" : "Change the server"}
        isOpen={editing !== undefined}
        onClose={() => setEditing(undefined)}
      >
        {editing && (
          <ServerForm
            server={editing === "new" ? undefined : editing}
            onDone={() => {
              setEditing(undefined);
              void refresh();
            }}
          />
        )}
      </Dialog>
    </Section>
  );
}

function ServerRow({
  server,
  onEdit,
  onChanged,
}: {
  server: ToolServer;
  onEdit: () => void;
  onChanged: () => Promise<void>;
}) {
  const { say } = useToast();
  const [isOpen, setOpen] = useState(false);
  const id = server.id;
  const doing = useMutation({
    mutationFn: (work: () => Promise<unknown>) => work(),
    onSettled: onChanged,
    onError: (error) => say(wordsFor(error)),
  });
  const remove = async () => {
    if (!id) return;
    await removeServer(id);
    say(`${server.name} is removed. Calls of its tools stay as they are recorded.`);
  };
  const changed = server.tools.filter((tool) => tool.changed).length;
  return (
    <Row
      actions={
        id && (
          <>
            <Button disabled={doing.isPending} onClick={() => doing.mutate(() => refreshServer(id))}>
              {doing.isPending ? "Looking …" : "Look again"}
            </Button>
            <Menu
              trigger={
                <IconButton label={`What to do with ${server.name}`}>
                  <MoreHorizontal size={18} strokeWidth={1.5} aria-hidden />
                </IconButton>
              }
              entries={[
                { label: "Change", onChoose: onEdit },
                server.is_active
                  ? {
                      label: "Put aside",
                      onChoose: () => doing.mutate(() => updateServer(id, { is_active: false })),
                    }
                  : {
                      label: "Use again",
                      onChoose: () => doing.mutate(() => updateServer(id, { is_active: true })),
                    },
                { label: "Remove", isDangerous: true, onChoose: () => doing.mutate(remove) },
              ]}
            />
          </>
        )
      }
      below={
        isOpen && (
          <div className="flex flex-col gap-3 pt-1">
            {id && changed > 0 && server.definitions_digest && (
              <Button
                className="self-start"
                onClick={() =>
                  doing.mutate(() => updateServer(id, { accept_changes: server.definitions_digest }))
                }
              >
                Accept what changed
              </Button>
            )}
            <ul aria-label={`Tools of ${server.name}`} className="flex flex-col gap-3">
              {server.tools.map((tool) => (
                <li key={tool.name} className="text-sm">
                  <p className="flex flex-wrap items-center gap-2">
                    <span className="font-medium">
                      <PlainText text={tool.name} />
                    </span>
                    {tool.hints.read_only && <span className="text-text-muted">says that it only reads</span>}
                  </p>
                  <Definition described={tool} changed={tool.changed} />
                </li>
              ))}
            </ul>
          </div>
        )
      }
    >
      <p className="flex flex-wrap items-center gap-2">
        <span className="font-medium">{server.name}</span>
        {!id && <Badge>For everybody</Badge>}
        {!server.is_active && <Badge>Put aside</Badge>}
        {changed > 0 && (
          <Badge tone="danger">{changed === 1 ? "1 tool changed" : `${changed} changed`}</Badge>
        )}
      </p>
      <p className="break-words text-sm text-text-muted">
        {[
          server.url,
          server.header_names.length > 0 && `sends ${server.header_names.join(", ")}`,
          Number(server.cost_per_call) > 0 && `${dollars(server.cost_per_call)} a call`,
          server.listed_at && `looked at ${relativeTime(server.listed_at)}`,
        ]
          .filter(Boolean)
          .join(" · ")}
      </p>
      {server.last_error && (
        <p role="status" className="pt-1 text-danger text-sm">
          {server.last_error}
        </p>
      )}
      {server.tools.length > 0 && (
        <button
          type="button"
          aria-expanded={isOpen}
          onClick={() => setOpen(!isOpen)}
          className="flex min-h-9 items-center gap-1 text-sm hover:underline"
        >
          <ChevronRight
            size={14}
            strokeWidth={1.5}
            aria-hidden
            className={isOpen ? "rotate-90 transition-transform" : "transition-transform"}
          />
          {server.tools.length === 1 ? "1 tool" : `${server.tools.length} tools`}
        </button>
      )}
    </Row>
  );
}

type Header = { id: number; name: string; value: string };

function ServerForm({ server, onDone }: { server?: ToolServer; onDone: () => void }) {
  const [key] = useState(() => crypto.randomUUID());
  const [name, setName] = useState(server?.name ?? "");
  const [url, setUrl] = useState(server?.url ?? "");
  const [cost, setCost] = useState(
    Number(server?.cost_per_call ?? 0) ? String(Number(server?.cost_per_call)) : "",
  );
  const [headers, setHeaders] = useState<Header[]>();
  const rows = headers ?? [];
  const saving = useMutation({
    mutationFn: () => {
      const given = Object.fromEntries(
        rows.filter((one) => one.name.trim()).map((one) => [one.name.trim(), one.value]),
      );
      const common = { name: name.trim(), url: url.trim(), cost_per_call: cost || "0" };
      return server?.id
        ? updateServer(server.id, { ...common, ...(headers ? { headers: given } : {}) })
        : createServer({ ...common, headers: given }, key);
    },
    onSuccess: onDone,
  });
  const problem = saving.error;
  const fieldError = (field: string) => (problem instanceof ApiError ? problem.field(field) : undefined);
  const told = [
    "name",
    "url",
    "cost_per_call",
    "headers",
    ...rows.map((one) => `headers.${one.name.trim()}`),
  ];
  const change = (id: number, next: Partial<Header>) =>
    setHeaders(rows.map((one) => (one.id === id ? { ...one, ...next } : one)));
  return (
    <form
      className="flex flex-col gap-4"
      onSubmit={(event) => {
        event.preventDefault();
        saving.mutate();
      }}
    >
      <Field
        label="Name"
        hint="Short, in lower-case letters, digits and dashes, such as “issues”."
        required
        maxLength={40}
        autoCapitalize="none"
        spellCheck={false}
        value={name}
        error={fieldError("name")}
        onChange={(event) => setName(event.target.value)}
      />
      <Field
        label="Address"
        hint="Where it speaks MCP over HTTP."
        type="url"
        required
        placeholder="https://mcp.example.org/mcp"
        value={url}
        error={fieldError("url")}
        onChange={(event) => setUrl(event.target.value)}
      />
      <fieldset className="flex flex-col gap-2">
        <legend className="pb-1 font-medium">Headers</legend>
        <p className="text-sm text-text-muted">
          {server && server.header_names.length > 0 && !headers
            ? `It is sent ${server.header_names.join(", ")}. Add one to replace them all.`
            : "What it wants to know you by, such as Authorization. Encrypted here, and never shown again."}
        </p>
        {rows.map((one) => (
          <div key={one.id} className="flex flex-wrap items-end gap-2">
            <Field
              label="Header"
              placeholder="Authorization"
              className="min-w-32 flex-1"
              autoComplete="off"
              value={one.name}
              error={fieldError(`headers.${one.name.trim()}`)}
              onChange={(event) => change(one.id, { name: event.target.value })}
            />
            <Field
              label="Value"
              type="password"
              autoComplete="off"
              className="min-w-40 flex-2"
              value={one.value}
              onChange={(event) => change(one.id, { value: event.target.value })}
            />
            <IconButton
              label={`Leave out ${one.name || "this header"}`}
              onClick={() => setHeaders(rows.filter((other) => other.id !== one.id))}
            >
              <X size={16} strokeWidth={1.5} aria-hidden />
            </IconButton>
          </div>
        ))}
        {fieldError("headers") && (
          <p role="alert" className="text-danger text-sm">
            {fieldError("headers")}
          </p>
        )}
        <Button
          className="self-start"
          onClick={() =>
            setHeaders([
              ...rows,
              { id: (rows.at(-1)?.id ?? 0) + 1, name: rows.length ? "" : "Authorization", value: "" },
            ])
          }
        >
          <Plus size={16} strokeWidth={1.5} aria-hidden /> Add a header
        </Button>
      </fieldset>
      <Field
        label="What a call costs you"
        hint="In US dollars. Empty: nothing. Your limits count it."
        type="number"
        min={0}
        step="any"
        value={cost}
        error={fieldError("cost_per_call")}
        onChange={(event) => setCost(event.target.value)}
      />
      {problem && !told.some(fieldError) && (
        <p role="alert" className="text-danger">
          {wordsFor(problem)}
        </p>
      )}
      <Button look="primary" type="submit" className="self-start" disabled={saving.isPending}>
        {saving.isPending ? "Asking what it offers …" : server ? "Save" : "Add"}
      </Button>
    </form>
  );
}
