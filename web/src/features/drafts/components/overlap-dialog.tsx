import { useState } from "react";
import { Button } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import type { Merged } from "../queries";

type Choice = "mine" | "theirs" | "both";
const CONTEXT = 240; // characters shown before and after a conflict

/** Resolve conflicts: both sides of each are shown, and the user chooses. */
export function OverlapDialog({
  merged,
  onResolve,
  onClose,
}: {
  merged: Merged;
  onResolve: (text: string) => void;
  onClose: () => void;
}) {
  const places = merged.filter((piece) => piece.kind === "overlap").length;
  const [choices, setChoices] = useState<(Choice | undefined)[]>(() => Array(places).fill(undefined));
  const choose = (at: number, choice: Choice) =>
    setChoices((before) => before.map((old, index) => (index === at ? choice : old)));
  const isDone = Array.from({ length: places }, (_, at) => choices[at]).every(
    (choice) => choice !== undefined,
  );
  let at = -1;
  const numbered = merged.map((piece) => ({ piece, place: piece.kind === "overlap" ? ++at : -1 }));
  const resolve = () =>
    onResolve(
      numbered
        .map(({ piece, place }) => {
          if (piece.kind === "same") return piece.text;
          const choice = choices[place];
          return choice === "both" ? joined(piece.mine, piece.theirs) : piece[choice ?? "mine"];
        })
        .join(""),
    );
  return (
    <Dialog title="The same words were changed twice" isOpen onClose={onClose} isWide>
      <p className="pb-3 text-text-muted">
        {places === 1
          ? "Choose what shall stand there."
          : `In ${places} places. Choose for each what shall stand there.`}{" "}
        Nothing is stored until then, and both texts are kept.
      </p>
      <div className="flex flex-col gap-4 whitespace-pre-wrap break-words font-serif text-md">
        {numbered.map(({ piece, place }, index) =>
          piece.kind === "same" ? (
            // biome-ignore lint/suspicious/noArrayIndexKey: the pieces have no identity and never move
            <p key={index} className="text-text-muted">
              {shortened(piece.text, index === 0, index === numbered.length - 1)}
            </p>
          ) : (
            <fieldset
              key={place}
              className="grid gap-2 rounded-card border border-hairline-strong p-3 sm:grid-cols-2"
            >
              <legend className="px-1 font-sans text-sm text-text-muted">
                {piece.base.trim() ? `Instead of “${piece.base.trim().slice(0, 80)}”` : "At this place"}
              </legend>
              {(["mine", "theirs"] as const).map((side) => (
                <button
                  key={side}
                  type="button"
                  aria-pressed={choices[place] === side}
                  onClick={() => choose(place, side)}
                  className="flex flex-col gap-1 rounded-card border border-hairline p-3 text-left hover:bg-surface-hover aria-pressed:border-accent aria-pressed:bg-accent-quiet"
                >
                  <span className="font-medium font-sans text-sm text-text-muted">
                    {side === "mine" ? "Here" : "Elsewhere"}
                  </span>
                  <span>{piece[side] || "(taken away)"}</span>
                </button>
              ))}
              <Button
                look="plain"
                className="font-sans sm:col-span-2"
                aria-pressed={choices[place] === "both"}
                onClick={() => choose(place, "both")}
              >
                {choices[place] === "both" ? "✓ Both, one after the other" : "Both, one after the other"}
              </Button>
            </fieldset>
          ),
        )}
      </div>
      <div className="flex justify-end gap-2 pt-4">
        <Button onClick={onClose}>Later</Button>
        <Button look="primary" disabled={!isDone} onClick={resolve}>
          Save this
        </Button>
      </div>
    </Dialog>
  );
}

function joined(mine: string, theirs: string): string {
  return mine && theirs && !/\s$/.test(mine) && !/^\s/.test(theirs) ? `${mine} ${theirs}` : mine + theirs;
}

/** Return the text around conflicts, without the middle of long parts. */
function shortened(text: string, isFirst: boolean, isLast: boolean): string {
  if (text.length <= 2 * CONTEXT) return text;
  const head = isFirst ? "" : text.slice(0, CONTEXT);
  const tail = isLast ? "" : text.slice(-CONTEXT);
  return `${head} … ${tail}`;
}
