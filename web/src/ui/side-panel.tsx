import type { ReactNode } from "react";
import { Sheet } from "./sheet";
import { useMedia } from "./use-media";

type Props = {
  label: string; // of the panel next to the page, and of the sheet on small screens
  onClose: () => void;
  children: ReactNode; // has its own heading and close button
};

/** A panel next to the page, or a sheet over it on small screens. */
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
