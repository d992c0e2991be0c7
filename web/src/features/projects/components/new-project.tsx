import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { wordsFor, wordsForField } from "@/api/words";
import { Button } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Field } from "@/ui/field";
import { Problem } from "@/ui/problem";
import { createProject, type Project } from "../queries";

/** Ask for the name of a new project. */
export function NewProject({
  onCreated,
  onClose,
}: {
  onCreated: (project: Project) => void;
  onClose: () => void;
}) {
  const [name, setName] = useState("");
  const [key] = useState(() => crypto.randomUUID());
  const creating = useMutation({
    mutationFn: () => createProject({ name }, key),
    onSuccess: onCreated,
  });
  const nameError = wordsForField(creating.error, "name");
  return (
    <Dialog title="New project" isOpen onClose={onClose}>
      <form
        className="flex flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          creating.mutate();
        }}
      >
        <Field
          label="Name"
          hint="Its chats have instructions and a model in common. You can add people later."
          autoFocus
          maxLength={100}
          value={name}
          error={nameError}
          onChange={(event) => setName(event.target.value)}
        />
        <Problem words={creating.error && !nameError && wordsFor(creating.error)} />
        <Button
          look="primary"
          type="submit"
          className="self-start"
          disabled={!name.trim() || creating.isPending}
        >
          Create
        </Button>
      </form>
    </Dialog>
  );
}
