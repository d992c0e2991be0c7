import { Toast } from "@base-ui/react/toast";
import { X } from "lucide-react";
import { type ReactNode, useCallback } from "react";
import { IconButton } from "./button";

const UNDO_MS = 10_000;

export function ToastProvider({ children }: { children: ReactNode }) {
  return (
    <Toast.Provider timeout={6000} limit={3}>
      {children}
      <Toast.Portal>
        {/* Above the composer, which a message that stays must not cover. */}
        <Toast.Viewport className="fixed inset-x-4 bottom-[calc(9rem+env(safe-area-inset-bottom))] z-50 mx-auto flex max-w-sm flex-col gap-2 sm:right-6 sm:left-auto sm:w-96">
          <Toasts />
        </Toast.Viewport>
      </Toast.Portal>
    </Toast.Provider>
  );
}

function Toasts() {
  const { toasts } = Toast.useToastManager();
  return toasts.map((toast) => (
    <Toast.Root
      key={toast.id}
      toast={toast}
      className="rounded-card border border-hairline bg-surface-raised shadow-float transition-opacity duration-150 data-[ending-style]:opacity-0 data-[starting-style]:opacity-0"
    >
      <Toast.Content className="flex items-center gap-3 py-2 pr-2 pl-4">
        <Toast.Title className="min-w-0 flex-1 break-words" />
        <Toast.Action className="min-h-9 rounded-control px-3 font-semibold text-accent hover:bg-surface-hover" />
        <Toast.Close
          render={
            <IconButton label="Dismiss">
              <X size={16} strokeWidth={1.5} aria-hidden />
            </IconButton>
          }
        />
      </Toast.Content>
    </Toast.Root>
  ));
}

/** Show a short message: an error, an action that can be undone for ten seconds, or one that stays until it is closed. */
export function useToast(): {
  say: (words: string) => void;
  /** Return a function that takes the message away without calling `onDismiss`. */
  stay: (words: string, onDismiss: () => void) => () => void;
  offerUndo: (words: string, undo: () => void) => void;
} {
  const { add, close } = Toast.useToastManager();
  const say = useCallback((words: string) => void add({ title: words }), [add]);
  const stay = useCallback(
    (words: string, onDismiss: () => void) => {
      let isTaken = false;
      const id = add({ title: words, timeout: 0, onClose: () => !isTaken && onDismiss() });
      return () => {
        isTaken = true;
        close(id);
      };
    },
    [add, close],
  );
  const offerUndo = useCallback(
    (words: string, undo: () => void) => {
      const takeBack = () => {
        close(id);
        undo();
      };
      const id = add({
        title: words,
        timeout: UNDO_MS,
        actionProps: { children: "Undo", onClick: takeBack },
      });
    },
    [add, close],
  );
  return { say, stay, offerUndo };
}
