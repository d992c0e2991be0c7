import { FilePen } from "lucide-react";
import { useEffect, useState } from "react";
import { createPortal } from "react-dom";
import { Button } from "@/ui/button";

type Selected = { messageId: string; words: string; left: number; top: number };

/** The toolbar next to text that is selected in one message. */
export function SelectedWords({ onDraft }: { onDraft: (messageId: string, words: string) => void }) {
  const [selected, setSelected] = useState<Selected>();
  useEffect(() => {
    let frame = 0;
    const look = () => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => setSelected(readSelection()));
    };
    const hide = () => setSelected(undefined);
    document.addEventListener("selectionchange", look);
    document.addEventListener("scroll", hide, { capture: true, passive: true });
    return () => {
      cancelAnimationFrame(frame);
      document.removeEventListener("selectionchange", look);
      document.removeEventListener("scroll", hide, { capture: true });
    };
  }, []);
  if (!selected) return null;
  return createPortal(
    <Button
      className="fixed z-40 bg-surface-raised shadow-float"
      style={{ left: selected.left, top: selected.top }}
      // A press on a button must not clear the selection before it is used.
      onMouseDown={(event) => event.preventDefault()}
      onClick={() => {
        onDraft(selected.messageId, selected.words);
        getSelection()?.removeAllRanges();
      }}
    >
      <FilePen size={16} strokeWidth={1.5} aria-hidden /> Selection to a draft
    </Button>,
    document.body,
  );
}

function readSelection(): Selected | undefined {
  const selection = getSelection();
  const words = selection?.toString().trim();
  if (!selection || !words || selection.rangeCount === 0) return undefined;
  const range = selection.getRangeAt(0);
  const messageId = messageOf(range.startContainer);
  if (!messageId || messageOf(range.endContainer) !== messageId) return undefined;
  const around = range.getBoundingClientRect();
  return {
    messageId,
    words,
    left: Math.max(8, Math.min(around.left, innerWidth - 220)),
    top: Math.min(around.bottom + 8, innerHeight - 56),
  };
}

function messageOf(node: Node): string | undefined {
  const element = node instanceof Element ? node : node.parentElement;
  return element?.closest<HTMLElement>("[data-reply]")?.dataset.reply;
}
