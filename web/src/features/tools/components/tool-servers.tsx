import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { ChevronRight, MoreHorizontal } from "lucide-react";
import { useState } from "react";
import { wordsFor } from "@/api/words";
import { exactTime, relativeTime } from "@/lib/dates";
import { dollars } from "@/lib/money";
import { Button, IconButton } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Menu } from "@/ui/menu";
import { Badge, Row, Rows, Section } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import {
  refreshServer,
  removeServer,
  signOutOfServer,
  type ToolServer,
  toolServersQuery,
  updateServer,
} from "../queries";
import { ServerForm } from "./server-form";
import { ServerSignIn } from "./server-sign-in";
import { Definition, PlainText } from "./values";

/** MCP servers: the user's can be added, refreshed and removed; the operator's are read-only. */
export function ToolServers() {
  const servers = useQuery(toolServersQuery);
  const [editing, setEditing] = useState<ToolServer | "new">();
  const [signingIn, setSigningIn] = useState<ToolServer>();
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
              onSignIn={() => setSigningIn(server)}
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
      <Dialog
        title={`Sign in to ${signingIn?.name ?? ""}`}
        isOpen={signingIn !== undefined}
        onClose={() => setSigningIn(undefined)}
      >
        {signingIn?.id && <ServerSignIn serverId={signingIn.id} name={signingIn.name} />}
      </Dialog>
    </Section>
  );
}

function ServerRow({
  server,
  onEdit,
  onSignIn,
  onChanged,
}: {
  server: ToolServer;
  onEdit: () => void;
  onSignIn: () => void;
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
  const signOut = async () => {
    if (!id) return;
    await signOutOfServer(id);
    say(`You are signed out of ${server.name}. It may still list Tertulia among the programs that it knows.`);
  };
  const changed = server.tools.filter((tool) => tool.changed).length;
  return (
    <Row
      actions={
        id && (
          <>
            {server.requires_sign_in ? (
              <Button look="primary" onClick={onSignIn}>
                {server.sign_in ? "Sign in again" : "Sign in"}
              </Button>
            ) : (
              <Button disabled={doing.isPending} onClick={() => doing.mutate(() => refreshServer(id))}>
                {doing.isPending ? "Looking …" : "Look again"}
              </Button>
            )}
            <Menu
              trigger={
                <IconButton label={`What to do with ${server.name}`}>
                  <MoreHorizontal size={18} strokeWidth={1.5} aria-hidden />
                </IconButton>
              }
              entries={[
                { label: "Change", onChoose: onEdit },
                ...(server.requires_sign_in
                  ? [{ label: "Look again", onChoose: () => doing.mutate(() => refreshServer(id)) }]
                  : []),
                ...(server.sign_in ? [{ label: "Sign out", onChoose: () => doing.mutate(signOut) }] : []),
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
        {server.environment === "test" && <Badge tone="accent">Test account</Badge>}
        {!server.is_active && <Badge>Put aside</Badge>}
        {changed > 0 && (
          <Badge tone="danger">{changed === 1 ? "1 tool changed" : `${changed} changed`}</Badge>
        )}
      </p>
      <p className="break-words text-sm text-text-muted">
        {[
          server.url,
          server.sign_in && `signed in at ${hostOf(server.sign_in.issuer)}`,
          server.sign_in?.expires_at &&
            !server.sign_in.is_renewed &&
            `until ${exactTime(server.sign_in.expires_at)}`,
          server.header_names.length > 0 && `sends ${server.header_names.join(", ")}`,
          Number(server.cost_per_call) > 0 && `${dollars(server.cost_per_call)} a call`,
          server.listed_at && `looked at ${relativeTime(server.listed_at)}`,
        ]
          .filter(Boolean)
          .join(" · ")}
      </p>
      {server.last_error && (
        <p
          role="status"
          className={server.requires_sign_in ? "pt-1 text-sm text-warning" : "pt-1 text-danger text-sm"}
        >
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

function hostOf(address: string): string {
  return URL.canParse(address) ? new URL(address).host : address;
}
