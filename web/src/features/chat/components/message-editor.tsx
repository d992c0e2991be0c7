import { useState } from "react";
import { wordsFor } from "@/api/words";
import { Button } from "@/ui/button";
import { Problem } from "@/ui/problem";
import type { Message } from "../reducer";

type Props = {
  message: Message;
  isInPlace: boolean; // the text is replaced, as no other version is possible
  onSave: (content: string, isInPlace: boolean) => Promise<void>;
  onCancel: () => void;
};

/** Edit a message. The previous text is kept in its history. */
export function MessageEditor({ message, isInPlace: isFixed, onSave, onCancel }: Props) {
  const [text, setText] = useState(() => ownWords(message));
  const isPerson = message.role === "user";
  const [problem, setProblem] = useState<string>();
  const [isSaving, setSaving] = useState(false);
  const save = async (isInPlace = isFixed) => {
    if (!text.trim() || isSaving) return;
    setSaving(true);
    try {
      await onSave(text, isInPlace);
    } catch (error) {
      setProblem(wordsFor(error));
      setSaving(false);
    }
  };
  return (
    <form
      className="flex flex-col gap-2 rounded-card border border-hairline-strong bg-surface-raised p-3"
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      <textarea
        aria-label={isPerson ? "Edit your message" : "Edit this reply"}
        // biome-ignore lint/a11y/noAutofocus: the person has just asked to write here
        autoFocus
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => {
          if (event.nativeEvent.isComposing) return;
          if (event.key === "Escape") onCancel();
          if (event.key === "Enter" && !event.shiftKey) {
            event.preventDefault();
            void save();
          }
        }}
        className="field-sizing-content max-h-[50vh] min-h-16 w-full resize-none bg-transparent text-read outline-none"
      />
      <Problem words={problem} />
      <div className="flex items-center justify-end gap-2">
        <span className="mr-auto text-sm text-text-muted">The first wording is kept.</span>
        <Button look="plain" onClick={onCancel}>
          Cancel
        </Button>
        {!isFixed && (
          <Button disabled={!text.trim() || isSaving} onClick={() => void save(true)}>
            Only save
          </Button>
        )}
        <Button look="primary" type="submit" disabled={!text.trim() || isSaving}>
          {isFixed ? "Save" : "Send"}
        </Button>
      </div>
    </form>
  );
}

/** Return the text of a message without its file names. */
function ownWords(message: Message): string {
  return message.parts
    .flatMap((part) => (part.type === "text" ? [part.text] : part.type === "code" ? [part.code] : []))
    .join("\n\n");
}
