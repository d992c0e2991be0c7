import { Dialog as Base } from "@base-ui/react/dialog";
import { X } from "lucide-react";
import type { ReactNode } from "react";
import { IconButton } from "./button";

type Props = { title: string; isOpen: boolean; onClose: () => void; children: ReactNode };

/** Something to be answered before going on; Escape and a press beside it close it. */
export function Dialog({ title, isOpen, onClose, children }: Props) {
  return (
    <Base.Root open={isOpen} onOpenChange={(open) => !open && onClose()}>
      <Base.Portal>
        <Base.Backdrop className="fixed inset-0 z-40 bg-backdrop transition-opacity duration-150 data-[ending-style]:opacity-0 data-[starting-style]:opacity-0" />
        <Base.Popup className="fixed inset-x-4 top-[12dvh] z-40 mx-auto flex max-h-[76dvh] max-w-lg flex-col overflow-y-auto rounded-sheet bg-surface-raised p-5 shadow-float outline-none transition-opacity duration-150 data-[ending-style]:opacity-0 data-[starting-style]:opacity-0">
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
