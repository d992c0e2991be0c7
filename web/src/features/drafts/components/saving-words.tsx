import { Button } from "@/ui/button";
import { cx } from "@/ui/class-names";
import type { Saving } from "../saver";

/** The saving state of a draft, and the action for it. */
export function SavingWords({
  saving,
  onChoose,
  onSave,
}: {
  saving: Saving;
  onChoose: () => void;
  onSave: () => void;
}) {
  if (saving.overlap)
    return (
      <Button className="text-warning" onClick={onChoose}>
        Changed twice: choose
      </Button>
    );
  const words = {
    saved: `Version ${saving.versionNumber}`,
    stored: "Stored",
    storing: "Storing …",
    offline: "Not connected; kept here",
    failed: saving.problem ?? "Not saved",
  }[saving.state];
  return (
    <>
      <span
        role="status"
        className={cx(
          "text-sm",
          saving.state === "failed" || saving.state === "offline" ? "text-warning" : "text-text-muted",
        )}
      >
        {words}
      </span>
      {saving.state !== "saved" && (
        <Button look="plain" className="text-sm" title="Ctrl S" onClick={onSave}>
          Save a version
        </Button>
      )}
    </>
  );
}
