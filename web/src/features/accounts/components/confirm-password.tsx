import { useEffect, useRef, useState } from "react";
import { setConfirmer } from "@/api/client";
import { wordsFor } from "@/api/words";
import { Button } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Field } from "@/ui/field";
import { confirmPassword } from "../queries";

/** Ask for the password when a call needs it to be confirmed. */
export function ConfirmPassword() {
  const [isOpen, setOpen] = useState(false);
  const answer = useRef<(isConfirmed: boolean) => void>(undefined);
  useEffect(() => {
    setConfirmer(
      () =>
        new Promise((resolve) => {
          answer.current?.(false);
          answer.current = resolve;
          setOpen(true);
        }),
    );
    return () => setConfirmer(async () => false);
  }, []);
  const close = (isConfirmed: boolean) => {
    setOpen(false);
    answer.current?.(isConfirmed);
    answer.current = undefined;
  };
  return (
    <Dialog title="Enter your password" isOpen={isOpen} onClose={() => close(false)}>
      {isOpen && <PasswordForm onDone={() => close(true)} />}
    </Dialog>
  );
}

function PasswordForm({ onDone }: { onDone: () => void }) {
  const [password, setPassword] = useState("");
  const [problem, setProblem] = useState<string>();
  const [isBusy, setBusy] = useState(false);
  const send = async () => {
    setBusy(true);
    setProblem(undefined);
    try {
      await confirmPassword({ password });
      onDone();
    } catch (error) {
      setProblem(wordsFor(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <form
      className="flex flex-col gap-4"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      <p className="text-text-muted">You signed in more than ten minutes ago, and this needs to be you.</p>
      <Field
        label="Password"
        type="password"
        autoComplete="current-password"
        autoFocus
        value={password}
        error={problem}
        onChange={(event) => setPassword(event.target.value)}
      />
      <Button look="primary" type="submit" className="self-start" disabled={!password || isBusy}>
        Go on
      </Button>
    </form>
  );
}
