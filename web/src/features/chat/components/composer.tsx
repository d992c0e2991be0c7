import { ArrowUp, Square } from "lucide-react";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { keepText, readKeptText } from "@/lib/kept-text";

type Props = {
  place: string; // where the text is kept for: a chat's id, or "new"
  onSend: (content: string) => Promise<void>;
  problem?: string;
  onStop?: () => void; // given while a reply is being written
  onEditLast?: () => void;
  isDisabled?: boolean;
  children?: ReactNode; // stands left of the button: the choice of the model
};

const MAX_LENGTH = 100_000;

/** Where one writes. What is typed is kept for each chat until it is sent, and comes back if sending fails. */
export function Composer({ place, onSend, problem, onStop, onEditLast, isDisabled, children }: Props) {
  const [text, setText] = useState(() => readKeptText(place));
  const box = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    setText(readKeptText(place));
    box.current?.focus({ preventScroll: true });
  }, [place]);

  const type = (value: string) => {
    setText(value);
    keepText(place, value);
  };
  const tooLong = text.length > MAX_LENGTH;
  const canSend = text.trim() !== "" && !tooLong && !isDisabled;
  const send = async () => {
    if (!canSend) return;
    const content = text;
    setText(""); // kept in storage until the server has it
    try {
      await onSend(content);
      if (readKeptText(place) === content) keepText(place, "");
    } catch {
      setText((typedSince) => (typedSince ? `${content}\n\n${typedSince}` : content));
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
      {(problem || tooLong) && (
        <p role="alert" className="mb-2 rounded-card bg-danger-quiet px-3 py-2 text-danger">
          {tooLong
            ? `${text.length.toLocaleString()} of at most 100,000 characters. Send the rest as a second message.`
            : problem}
        </p>
      )}
      <div className="rounded-sheet border border-hairline-strong bg-surface-raised p-2 shadow-sm focus-within:border-accent">
        <textarea
          ref={box}
          aria-label="Write a message"
          placeholder="Write a message"
          value={text}
          onChange={(event) => type(event.target.value)}
          onKeyDown={(event) => {
            // While an input method composes a word, Enter chooses it and must not send.
            if (event.nativeEvent.isComposing || event.keyCode === 229) return;
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
          <div className="flex min-w-0 flex-1 items-center gap-1">{children}</div>
          {onStop ? (
            <RoundButton label="Stop" onClick={onStop}>
              <Square size={14} strokeWidth={1.5} fill="currentColor" aria-hidden />
            </RoundButton>
          ) : null}
          {(!onStop || text.trim() !== "") && (
            <RoundButton label="Send" type="submit" disabled={!canSend}>
              <ArrowUp size={18} strokeWidth={2} aria-hidden />
            </RoundButton>
          )}
        </div>
      </div>
    </form>
  );
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
