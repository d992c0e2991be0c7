import { ArrowUp, Paperclip, Square } from "lucide-react";
import { type DragEvent, type ReactNode, useEffect, useId, useRef, useState } from "react";
import { keepText, readKeptText } from "@/lib/kept-text";
import { IconButton } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { Problem } from "@/ui/problem";
import { useAttached } from "../hooks/use-attached";
import { type Mentionable, useMention } from "../hooks/use-mention";
import type { NextMessage } from "../queries";
import { AttachedFiles } from "./attached-files";
import { MentionList, mentionId } from "./mention-list";

type Props = {
  place: string; // key of the stored text: a chat id, or "new"
  onSend: (content: string, attachmentIds: string[]) => Promise<void>;
  onTyping?: () => void;
  label?: string;
  problem?: string;
  offer?: ReactNode; // a way out of the problem
  cost?: (next: NextMessage) => ReactNode;
  onStop?: () => void; // set while a reply is being written
  onEditLast?: () => void;
  isDisabled?: boolean;
  people?: readonly Mentionable[]; // who can be named with an @
  children?: ReactNode; // left of the button: the model choice
};

const MAX_LENGTH = 100_000;
const NO_ONE: readonly Mentionable[] = [];

/** The message box. Text is kept for each chat until it is sent, and restored if sending fails. */
export function Composer({
  place,
  onSend,
  onTyping,
  label = "Write a message",
  problem,
  offer,
  cost,
  onStop,
  onEditLast,
  isDisabled,
  people = NO_ONE,
  children,
}: Props) {
  const [text, setText] = useState(() => readKeptText(place));
  const box = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const files = useAttached(place);
  const [isOver, setOver] = useState(false);
  useEffect(() => {
    setText(readKeptText(place));
    box.current?.focus({ preventScroll: true });
  }, [place]);

  const type = (value: string) => {
    setText(value);
    keepText(place, value);
    if (value) onTyping?.();
  };
  const mention = useMention(box, text, people, type);
  const listId = useId();
  const tooLong = text.length > MAX_LENGTH;
  const areReady = files.items.every((item) => item.state === "ready");
  const canSend = (text.trim() !== "" || files.items.length > 0) && areReady && !tooLong && !isDisabled;
  const send = async () => {
    if (!canSend) return;
    const content = text;
    setText(""); // kept in storage until the server has it
    const taken = files.take();
    try {
      await onSend(content, taken.ids);
      if (readKeptText(place) === content) keepText(place, "");
    } catch {
      taken.putBack();
      // What was typed meanwhile is in storage, also if this box is not shown any more.
      const typedSince = readKeptText(place);
      const both = typedSince && typedSince !== content ? `${content}\n\n${typedSince}` : content;
      keepText(place, both);
      setText(both);
    }
  };

  return (
    <form
      className="mx-auto w-full max-w-read px-4 pb-[max(1rem,env(safe-area-inset-bottom))]"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      <Problem
        isBoxed
        className="mb-2"
        words={
          tooLong
            ? `${text.length.toLocaleString()} of at most 100,000 characters. Send the rest as a second message.`
            : problem || files.problem
        }
      />
      {problem && offer && <div className="mb-2">{offer}</div>}
      <MentionList id={listId} matches={mention.matches} chosen={mention.chosen} onPick={mention.pick} />
      {/* biome-ignore lint/a11y/noStaticElementInteractions: dropping is one of several ways; the button is there for all */}
      <div
        className={cx(
          "rounded-sheet border bg-surface-raised p-2 shadow-sm focus-within:border-accent",
          isOver ? "border-accent ring-2 ring-accent" : "border-hairline-strong",
        )}
        onDragOver={(event) => {
          if (!hasFiles(event)) return;
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          setOver(false);
          if (!hasFiles(event)) return;
          event.preventDefault();
          files.add(event.dataTransfer.files);
        }}
      >
        <AttachedFiles items={files.items} onRemove={files.remove} />
        <textarea
          ref={box}
          aria-label={label}
          placeholder={label}
          value={text}
          {...(mention.matches.length > 0 && {
            "aria-autocomplete": "list",
            "aria-controls": listId,
            "aria-activedescendant": mentionId(listId, mention.chosen),
          })}
          onChange={(event) => {
            type(event.target.value);
            mention.onCaret(event.target);
          }}
          onSelect={(event) => mention.onCaret(event.currentTarget)}
          onPaste={(event) => {
            if (event.clipboardData.files.length === 0) return;
            event.preventDefault();
            files.add(event.clipboardData.files);
          }}
          onKeyDown={(event) => {
            // While an input method composes a word, Enter chooses it and must not send.
            if (event.nativeEvent.isComposing || event.keyCode === 229) return;
            if (mention.onKey(event)) return;
            if (event.key === "Enter" && !event.shiftKey && !matchMedia("(pointer: coarse)").matches) {
              event.preventDefault();
              void send();
            }
            if (event.key === "Escape" && onStop) onStop();
            if (event.key === "ArrowUp" && text === "" && onEditLast) {
              event.preventDefault();
              onEditLast();
            }
          }}
          rows={1}
          className="field-sizing-content block max-h-[40vh] min-h-11 w-full resize-none bg-transparent px-2 py-2 text-read outline-none placeholder:text-text-muted"
        />
        <div className="flex items-center gap-2">
          <input
            ref={picker}
            type="file"
            multiple
            hidden
            aria-hidden
            data-testid="file-picker"
            onChange={(event) => {
              files.add(event.target.files ?? []);
              event.target.value = ""; // the same file again is a choice too
            }}
          />
          <IconButton label="Attach files" onClick={() => picker.current?.click()}>
            <Paperclip size={18} strokeWidth={1.5} aria-hidden />
          </IconButton>
          <div className="flex min-w-0 flex-1 flex-wrap items-center gap-1">{children}</div>
          {cost?.({ characters: text.trim().length + files.characters, pictures: files.pictures })}
          {onStop ? (
            <RoundButton label="Stop" onClick={onStop}>
              <Square size={14} strokeWidth={1.5} fill="currentColor" aria-hidden />
            </RoundButton>
          ) : null}
          {(!onStop || text.trim() !== "" || files.items.length > 0) && (
            <RoundButton label="Send" type="submit" disabled={!canSend}>
              <ArrowUp size={18} strokeWidth={2} aria-hidden />
            </RoundButton>
          )}
        </div>
      </div>
    </form>
  );
}

function hasFiles(event: DragEvent): boolean {
  return event.dataTransfer.types.includes("Files");
}

function RoundButton({
  label,
  children,
  ...rest
}: {
  label: string;
  children: ReactNode;
  type?: "submit";
  disabled?: boolean;
  onClick?: () => void;
}) {
  return (
    <button
      type="button"
      aria-label={label}
      title={label}
      className="inline-flex size-9 shrink-0 items-center justify-center rounded-full bg-accent text-on-accent transition-colors duration-150 hover:bg-accent-hover disabled:bg-surface-hover disabled:text-text-muted pointer-coarse:size-11"
      {...rest}
    >
      {children}
    </button>
  );
}
