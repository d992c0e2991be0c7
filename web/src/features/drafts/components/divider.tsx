import { type RefObject, useState } from "react";

const KEY = "tertulia.draft-divider";
const LEAST = 25;
const MOST = 70;
const STEP = 3;

/** The position of the divider in percent of the width, stored in this browser. */
export function useDivided(): [number, (share: number) => void] {
  const [share, setShare] = useState(() => {
    try {
      return within(Number(localStorage.getItem(KEY)) || 40);
    } catch {
      return 40;
    }
  });
  const move = (wanted: number) => {
    const kept = within(wanted);
    setShare(kept);
    try {
      localStorage.setItem(KEY, String(kept));
    } catch {
      // Storage is turned off: the position lasts until the page is closed.
    }
  };
  return [share, move];
}

const within = (share: number) => Math.min(MOST, Math.max(LEAST, share));

export function Divider({
  share,
  onMove,
  whole,
}: {
  share: number;
  onMove: (share: number) => void;
  whole: RefObject<HTMLElement | null>;
}) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: a separator that is moved is a widget, and a rule is none
    <div
      role="separator"
      tabIndex={0}
      aria-label="Width of the chat"
      aria-orientation="vertical"
      aria-valuenow={Math.round(share)}
      aria-valuemin={LEAST}
      aria-valuemax={MOST}
      onKeyDown={(event) => {
        const by = { ArrowLeft: -STEP, ArrowRight: STEP }[event.key];
        if (by === undefined) return;
        event.preventDefault();
        onMove(share + by);
      }}
      onPointerDown={(event) => event.currentTarget.setPointerCapture(event.pointerId)}
      onPointerMove={(event) => {
        const box = whole.current?.getBoundingClientRect();
        if (box && event.currentTarget.hasPointerCapture(event.pointerId))
          onMove(((event.clientX - box.left) / box.width) * 100);
      }}
      className="relative w-px shrink-0 cursor-col-resize touch-none bg-hairline outline-none before:absolute before:inset-y-0 before:-left-1 before:w-2 hover:bg-accent focus-visible:bg-accent"
    />
  );
}
