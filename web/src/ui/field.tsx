import { type InputHTMLAttributes, type TextareaHTMLAttributes, useId } from "react";
import { cx } from "./class-names";

type Common = { label: string; hint?: string; error?: string };
const BOX =
  "w-full rounded-control border border-hairline-strong bg-surface-raised px-3 py-2 text-md placeholder:text-text-muted aria-invalid:border-danger";

export function Field({
  label,
  hint,
  error,
  className,
  ...rest
}: Common & InputHTMLAttributes<HTMLInputElement>) {
  const id = useId();
  return (
    <div className={cx("flex flex-col gap-1", className)}>
      <label htmlFor={id} className="font-medium">
        {label}
      </label>
      <input
        id={id}
        className={BOX}
        aria-invalid={error ? true : undefined}
        aria-describedby={hint || error ? `${id}-words` : undefined}
        {...rest}
      />
      <Words id={`${id}-words`} hint={hint} error={error} />
    </div>
  );
}

export function TextField({
  label,
  hint,
  error,
  className,
  ...rest
}: Common & TextareaHTMLAttributes<HTMLTextAreaElement>) {
  const id = useId();
  return (
    <div className="flex flex-col gap-1">
      <label htmlFor={id} className="font-medium">
        {label}
      </label>
      <textarea
        id={id}
        className={cx(BOX, "min-h-28 resize-y", className)}
        aria-invalid={error ? true : undefined}
        aria-describedby={hint || error ? `${id}-words` : undefined}
        {...rest}
      />
      <Words id={`${id}-words`} hint={hint} error={error} />
    </div>
  );
}

function Words({ id, hint, error }: { id: string; hint?: string; error?: string }) {
  if (error)
    return (
      <p id={id} role="alert" className="text-sm text-danger">
        {error}
      </p>
    );
  return hint ? (
    <p id={id} className="text-sm text-text-muted">
      {hint}
    </p>
  ) : null;
}
