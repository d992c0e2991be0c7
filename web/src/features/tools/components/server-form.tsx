import { useMutation } from "@tanstack/react-query";
import { Plus, X } from "lucide-react";
import { useState } from "react";
import { wordsFor, wordsForField } from "@/api/words";
import { Button, IconButton } from "@/ui/button";
import { Field } from "@/ui/field";
import { Problem } from "@/ui/problem";
import { Tick } from "@/ui/tick";
import { createServer, type ToolServer, updateServer } from "../queries";

type Header = { id: number; name: string; value: string };

/** Add or change a server. */
export function ServerForm({ server, onDone }: { server?: ToolServer; onDone: () => void }) {
  const [key] = useState(() => crypto.randomUUID());
  const [name, setName] = useState(server?.name ?? "");
  const [url, setUrl] = useState(server?.url ?? "");
  const [cost, setCost] = useState(
    Number(server?.cost_per_call ?? 0) ? String(Number(server?.cost_per_call)) : "",
  );
  const [isTest, setTest] = useState(server?.environment === "test");
  const [headers, setHeaders] = useState<Header[]>();
  const rows = headers ?? [];
  const saving = useMutation({
    mutationFn: () => {
      const sent = Object.fromEntries(
        rows.filter((row) => row.name.trim()).map((row) => [row.name.trim(), row.value]),
      );
      const common = {
        name: name.trim(),
        url: url.trim(),
        cost_per_call: cost || "0",
        environment: isTest ? ("test" as const) : ("prod" as const),
      };
      return server?.id
        ? updateServer(server.id, { ...common, ...(headers ? { headers: sent } : {}) })
        : createServer({ ...common, headers: sent }, key);
    },
    onSuccess: onDone,
  });
  const problem = saving.error;
  const fieldError = (field: string) => wordsForField(problem, field);
  const fieldNames = [
    "name",
    "url",
    "cost_per_call",
    "headers",
    ...rows.map((row) => `headers.${row.name.trim()}`),
  ];
  const change = (id: number, next: Partial<Header>) =>
    setHeaders(rows.map((row) => (row.id === id ? { ...row, ...next } : row)));
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
            : "Only where it gave you a key to send, such as Authorization. Encrypted here, and never shown again. Where it wants you to sign in, it says so once it is added."}
        </p>
        {rows.map((row) => (
          <div key={row.id} className="flex flex-wrap items-end gap-2">
            <Field
              label="Header"
              placeholder="Authorization"
              className="min-w-32 flex-1"
              autoComplete="off"
              value={row.name}
              error={fieldError(`headers.${row.name.trim()}`)}
              onChange={(event) => change(row.id, { name: event.target.value })}
            />
            <Field
              label="Value"
              type="password"
              autoComplete="off"
              className="min-w-40 flex-2"
              value={row.value}
              onChange={(event) => change(row.id, { value: event.target.value })}
            />
            <IconButton
              label={`Leave out ${row.name || "this header"}`}
              onClick={() => setHeaders(rows.filter((other) => other.id !== row.id))}
            >
              <X size={16} strokeWidth={1.5} aria-hidden />
            </IconButton>
          </div>
        ))}
        <Problem words={fieldError("headers")} />
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
      <div className="flex items-start gap-3">
        <Tick label="An account to try things with" isOn={isTest} onChange={setTest} />
        <div aria-hidden>
          <p>An account to try things with</p>
          <p className="text-sm text-text-muted">
            Every call says so. What you allow for it does not count for your real one: add that as another
            server.
          </p>
        </div>
      </div>
      <Problem words={problem && !fieldNames.some(fieldError) && wordsFor(problem)} />
      <Button look="primary" type="submit" className="self-start" disabled={saving.isPending}>
        {saving.isPending ? "Asking what it offers …" : server ? "Save" : "Add"}
      </Button>
    </form>
  );
}
