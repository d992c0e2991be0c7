import { useMutation, useQueryClient, useSuspenseQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { ApiError } from "@/api/client";
import { wordsFor } from "@/api/words";
import { dayOf } from "@/lib/dates";
import { Button } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Field } from "@/ui/field";
import { Problem } from "@/ui/problem";
import { Section } from "@/ui/section";
import { useToast } from "@/ui/toast";
import { deleteMe, meQuery, restoreMe } from "../queries";

/** Delete the own account in seven days, or keep it after all. `dataLink` leads to the export. */
export function DeleteAccount({ dataLink }: { dataLink: ReactNode }) {
  const { data: me } = useSuspenseQuery(meQuery);
  const [isOpen, setOpen] = useState(false);
  return (
    <Section title="Delete account">
      {me.deletes_at ? (
        <KeepAccount deletesAt={me.deletes_at} />
      ) : (
        <>
          <p className="text-text-muted">
            Your chats, drafts, files, keys and tokens are deleted. Messages in chats of others stay there
            without your name, and so do the sums of what was spent. Payments, and what payment providers
            reported about them, are kept, as they have to be.
          </p>
          <Button className="self-start" onClick={() => setOpen(true)}>
            Delete my account
          </Button>
        </>
      )}
      <Dialog title="Delete your account" isOpen={isOpen} onClose={() => setOpen(false)}>
        {isOpen && <DeleteForm dataLink={dataLink} onDone={() => setOpen(false)} />}
      </Dialog>
    </Section>
  );
}

function DeleteForm({ dataLink, onDone }: { dataLink: ReactNode; onDone: () => void }) {
  const client = useQueryClient();
  const [password, setPassword] = useState("");
  const deleting = useMutation({
    mutationFn: () => deleteMe({ password }),
    onSuccess: (user) => {
      client.setQueryData(meQuery.queryKey, user);
      onDone();
    },
  });
  const isWrong = deleting.error instanceof ApiError && deleting.error.code === "wrong_password";
  return (
    <form
      className="flex flex-col gap-4"
      onSubmit={(event) => {
        event.preventDefault();
        deleting.mutate();
      }}
    >
      <p>
        It is deleted after seven days. Until then you can use it and keep it. Afterwards nothing can be
        brought back. {dataLink} first to keep them.
      </p>
      <Field
        label="Password"
        type="password"
        autoComplete="current-password"
        autoFocus
        value={password}
        error={isWrong ? wordsFor(deleting.error) : undefined}
        onChange={(event) => setPassword(event.target.value)}
      />
      <Problem words={deleting.error && !isWrong && wordsFor(deleting.error)} />
      <Button look="primary" type="submit" className="self-start" disabled={!password || deleting.isPending}>
        Delete in seven days
      </Button>
    </form>
  );
}

function KeepAccount({ deletesAt }: { deletesAt: string }) {
  const client = useQueryClient();
  const { say } = useToast();
  const keeping = useMutation({
    mutationFn: restoreMe,
    onSuccess: (user) => {
      client.setQueryData(meQuery.queryKey, user);
      say("Your account is kept.");
    },
    onError: (error) => say(wordsFor(error)),
  });
  return (
    <div className="flex flex-wrap items-center gap-3">
      <p>Your account is deleted on {dayOf(deletesAt)}.</p>
      <Button disabled={keeping.isPending} onClick={() => keeping.mutate()}>
        Keep my account
      </Button>
    </div>
  );
}

/** Say on every page that the account will be deleted. `link` leads to where it can be kept. */
export function DeletionNotice({ link }: { link: ReactNode }) {
  const { data: me } = useSuspenseQuery(meQuery);
  if (!me.deletes_at) return null;
  return (
    <p
      role="status"
      className="flex flex-wrap items-center justify-center gap-x-3 bg-danger-quiet px-4 py-2 text-danger text-sm"
    >
      Your account is deleted on {dayOf(me.deletes_at)}. {link}
    </p>
  );
}
