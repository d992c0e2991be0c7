import { Dialog as Base } from "@base-ui/react/dialog";
import { X } from "lucide-react";
import type { ReactNode } from "react";
import { IconButton } from "./button";
import { cx } from "./class-names";

type Props = {
  title: string;
  isOpen: boolean;
  onClose: () => void;
  children: ReactNode;
  isWide?: boolean;
};

/** A modal dialog. Escape and a click outside close it. */
export function Dialog({ title, isOpen, onClose, children, isWide = false }: Props) {
  return (
    <Base.Root open={isOpen} onOpenChange={(open) => !open && onClose()}>
      <Base.Portal>
        <Base.Backdrop className="fixed inset-0 z-40 bg-backdrop transition-opacity duration-150 data-[ending-style]:opacity-0 data-[starting-style]:opacity-0" />
        <Base.Popup
          className={cx(
            "fixed inset-x-4 z-40 mx-auto flex flex-col overflow-y-auto rounded-sheet bg-surface-raised p-5 shadow-float outline-none transition-opacity duration-150 data-[ending-style]:opacity-0 data-[starting-style]:opacity-0",
            isWide ? "top-[6dvh] max-h-[88dvh] max-w-5xl" : "top-[12dvh] max-h-[76dvh] max-w-lg",
          )}
        >
          <div className="flex items-center justify-between gap-2 pb-3">
            <Base.Title className="font-semibold text-lg">{title}</Base.Title>
            <Base.Close
              render={
                <IconButton label="Close">
                  <X size={18} strokeWidth={1.5} aria-hidden />
                </IconButton>
              }
            />
          </div>
          {children}
        </Base.Popup>
      </Base.Portal>
    </Base.Root>
  );
}
