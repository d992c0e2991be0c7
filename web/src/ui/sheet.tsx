import { Dialog } from "@base-ui/react/dialog";
import { X } from "lucide-react";
import type { ReactNode } from "react";
import { IconButton } from "./button";
import { cx } from "./class-names";

type Props = {
  title: string;
  isOpen: boolean;
  onClose: () => void;
  side: "left" | "right";
  children: ReactNode;
  hasTitle?: boolean;
};

/** A panel that slides in from a side. Escape and a click outside close it. */
export function Sheet({ title, isOpen, onClose, side, children, hasTitle = true }: Props) {
  return (
    <Dialog.Root open={isOpen} onOpenChange={(open) => !open && onClose()}>
      <Dialog.Portal>
        <Dialog.Backdrop className="fixed inset-0 z-40 bg-backdrop transition-opacity duration-150 data-[ending-style]:opacity-0 data-[starting-style]:opacity-0" />
        <Dialog.Popup
          className={cx(
            "fixed inset-y-0 z-40 flex max-w-[92vw] flex-col overflow-y-auto bg-surface shadow-float outline-none transition-transform duration-200 ease-out",
            side === "left"
              ? "left-0 w-(--spacing-side) data-[ending-style]:-translate-x-full data-[starting-style]:-translate-x-full"
              : "right-0 w-(--spacing-panel) data-[ending-style]:translate-x-full data-[starting-style]:translate-x-full",
          )}
        >
          <div className={cx("flex items-center justify-between gap-2 p-4 pb-2", !hasTitle && "sr-only")}>
            <Dialog.Title className="font-semibold text-md">{title}</Dialog.Title>
            <Dialog.Close
              render={
                <IconButton label="Close">
                  <X size={18} strokeWidth={1.5} aria-hidden />
                </IconButton>
              }
            />
          </div>
          {children}
        </Dialog.Popup>
      </Dialog.Portal>
    </Dialog.Root>
  );
}
