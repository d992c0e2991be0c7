import type { ReactNode } from "react";
import { Sheet } from "./sheet";
import { useMedia } from "./use-media";

type Props = {
  label: string; // of the place beside the page, and of the sheet over a small one
  onClose: () => void;
  children: ReactNode; // has its own heading and a button that closes it
};

/** What stands beside the page where there is room, and over it where there is not. */
export function SidePanel({ label, onClose, children }: Props) {
  const isWide = useMedia("(min-width: 64rem)");
  if (!isWide)
    return (
      <Sheet title={label} side="right" isOpen onClose={onClose} hasTitle={false}>
        {children}
      </Sheet>
    );
  return (
    <aside aria-label={label} className="flex w-(--spacing-panel) shrink-0 flex-col border-hairline border-l">
      {children}
    </aside>
  );
}
