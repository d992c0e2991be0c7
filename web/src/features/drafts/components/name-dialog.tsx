import { useState } from "react";
import { Button } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Field } from "@/ui/field";

/** Ask for the name of the next version. */
export function NameDialog({ onName, onClose }: { onName: (name: string) => void; onClose: () => void }) {
  const [name, setName] = useState("");
  return (
    <Dialog title="Name this version" isOpen onClose={onClose}>
      <form
        className="flex flex-col gap-3"
        onSubmit={(event) => {
          event.preventDefault();
          onName(name);
        }}
      >
        <Field
          label="Name"
          hint="What is typed becomes a version, and is found by this name in the tree."
          value={name}
          maxLength={255}
          onChange={(event) => setName(event.target.value)}
        />
        <Button look="primary" type="submit" disabled={!name.trim()} className="self-end">
          Save
        </Button>
      </form>
    </Dialog>
  );
}
