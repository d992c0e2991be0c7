import { type KeyboardEvent, type RefObject, useLayoutEffect, useRef, useState } from "react";

/** Someone who can be named with an @. */
export type Mentionable = { username: string; name: string };

const SHOWN = 6;

/** Return the name that is being written at the caret after an @, with the place of the @. */
export function mentionAt(text: string, caret: number): { start: number; typed: string } | undefined {
  const match = /(?:^|[^\w@./])@([\w.-]{0,100})$/.exec(text.slice(0, caret));
  if (!match) return undefined;
  const typed = match[1] ?? "";
  return { start: caret - typed.length - 1, typed };
}

/** Suggest whom to name while an @ is written, chosen by keys or by a press. */
export function useMention(
  box: RefObject<HTMLTextAreaElement | null>,
  text: string,
  people: readonly Mentionable[],
  onText: (text: string) => void,
) {
  const [caret, setCaret] = useState(0);
  const [at, setAt] = useState(0); // the chosen suggestion
  const [closedAt, setClosedAt] = useState<number>(); // the @ for which the list was closed
  const moveTo = useRef<number>(undefined);
  useLayoutEffect(() => {
    if (moveTo.current === undefined) return;
    box.current?.setSelectionRange(moveTo.current, moveTo.current);
    setCaret(moveTo.current);
    moveTo.current = undefined;
  });
  const word = people.length > 0 ? mentionAt(text, caret) : undefined;
  const typed = word?.typed.toLowerCase() ?? "";
  const isOpen = word !== undefined && word.start !== closedAt;
  const matches = isOpen
    ? people
        .filter(
          ({ username, name }) =>
            username.toLowerCase().startsWith(typed) || name.toLowerCase().startsWith(typed),
        )
        .slice(0, SHOWN)
    : [];
  const chosen = Math.min(at, matches.length - 1);
  const pick = ({ username }: Mentionable) => {
    if (!word) return;
    const before = `${text.slice(0, word.start)}@${username} `;
    onText(before + text.slice(caret).replace(/^ /, ""));
    moveTo.current = before.length;
    setAt(0);
    box.current?.focus();
  };
  /** Return whether the key was for the list. */
  const onKey = (event: KeyboardEvent): boolean => {
    const match = matches[chosen];
    if (!match) return false;
    if (event.key === "ArrowDown") setAt((chosen + 1) % matches.length);
    else if (event.key === "ArrowUp") setAt((chosen - 1 + matches.length) % matches.length);
    else if (event.key === "Enter" || event.key === "Tab") pick(match);
    else if (event.key === "Escape") setClosedAt(word?.start);
    else return false;
    event.preventDefault();
    return true;
  };
  const onCaret = ({ value, selectionEnd }: HTMLTextAreaElement) => {
    setCaret(selectionEnd);
    if (mentionAt(value, selectionEnd)?.start !== word?.start) {
      setAt(0);
      setClosedAt(undefined);
    }
  };
  return { matches, chosen, pick, onKey, onCaret };
}
