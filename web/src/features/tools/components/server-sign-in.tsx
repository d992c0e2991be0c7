import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { ApiError } from "@/api/client";
import { wordsFor } from "@/api/words";
import { Button, buttonLook } from "@/ui/button";
import { Field } from "@/ui/field";
import { Problem } from "@/ui/problem";
import { Lines } from "@/ui/states";
import { beginSignIn, finishSignIn, type ToolServer } from "../queries";

/** Start the sign-in to a server. Its host is shown before the browser goes there. */
export function ServerSignIn({ serverId, name }: { serverId: string; name: string }) {
  const [clientId, setClientId] = useState("");
  const [secret, setSecret] = useState("");
  const beginning = useMutation({
    mutationFn: () =>
      beginSignIn(serverId, {
        ...(clientId.trim() ? { client_id: clientId.trim() } : {}),
        ...(secret.trim() ? { client_secret: secret.trim() } : {}),
      }),
  });
  const { mutate } = beginning;
  const hasBegun = useRef(false);
  useEffect(() => {
    if (hasBegun.current) return; // React may run effects twice, so start only once
    hasBegun.current = true;
    mutate();
  }, [mutate]);
  const problem = beginning.error;
  const wantsClient = problem instanceof ApiError && problem.field("client_id") !== undefined;
  if (beginning.data) {
    const { host, token_host, url, scope } = beginning.data;
    return (
      <div className="flex flex-col gap-4">
        <p>
          You sign in at <strong className="break-all">{host}</strong> and come back here. Check that you know
          it: what you enter there, it learns.
        </p>
        {token_host !== host && (
          <p className="text-warning">
            What you are given there is handed over at <strong className="break-all">{token_host}</strong>: go
            on only if both belong together.
          </p>
        )}
        {scope && (
          <p className="text-text-muted">
            It will ask whether Tertulia may have: <span className="break-words">{scope}</span>
          </p>
        )}
        <a href={url} rel="noreferrer" className={buttonLook("primary", "self-start")}>
          Go to {host}
        </a>
      </div>
    );
  }
  if (!problem)
    return (
      <div role="status" className="flex flex-col gap-3">
        <p className="text-text-muted">Asking {name} who signs people in for it …</p>
        <Lines widths={["w-2/3", "w-1/3"]} />
      </div>
    );
  return (
    <form
      className="flex flex-col gap-4"
      onSubmit={(event) => {
        event.preventDefault();
        mutate();
      }}
    >
      <Problem words={wordsFor(problem)} />
      {(wantsClient || clientId) && (
        <>
          <Field
            label="Client id"
            required
            autoComplete="off"
            spellCheck={false}
            maxLength={500}
            value={clientId}
            onChange={(event) => setClientId(event.target.value)}
          />
          <Field
            label="Client secret"
            hint="Only if it gave you one. Encrypted here, and never shown again."
            type="password"
            autoComplete="off"
            maxLength={2000}
            value={secret}
            onChange={(event) => setSecret(event.target.value)}
          />
        </>
      )}
      <Button look="primary" type="submit" className="self-start">
        {wantsClient ? "Go on" : "Try again"}
      </Button>
    </form>
  );
}

/** Finished sign-ins by state. Each is sent once, however often the page renders. */
const sent = new Map<string, Promise<ToolServer>>();

/** The page that the authorization server redirects to. */
export function SignInBack({ onDone }: { onDone: (name: string) => void }) {
  const client = useQueryClient();
  const [brought] = useState(() => new URLSearchParams(window.location.search));
  const finishing = useMutation({
    mutationFn: () => {
      const state = brought.get("state") ?? "";
      const answer = sent.get(state) ?? finishSignIn(brought);
      sent.set(state, answer);
      return answer;
    },
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: ["tool-servers"] });
      await client.invalidateQueries({ queryKey: ["tools"] });
    },
  });
  const { mutate } = finishing;
  useEffect(() => mutate(), [mutate]);
  const name = finishing.data?.name;
  useEffect(() => {
    if (name !== undefined) onDone(name);
  }, [name, onDone]);
  if (finishing.error) return <Problem words={wordsFor(finishing.error)} />;
  return (
    <p role="status" className="text-text-muted">
      Signing in, and asking what it offers …
    </p>
  );
}
