import { type ReactNode, useId } from "react";

type Props = { title: string; hint?: ReactNode; action?: ReactNode; children: ReactNode };

/** A section of a page with a heading and an action. */
export function Section({ title, hint, action, children }: Props) {
  const id = useId();
  return (
    <section aria-labelledby={id} className="flex flex-col gap-4">
      <div className="flex flex-wrap items-start justify-between gap-x-4 gap-y-2">
        <div className="min-w-0 flex-1">
          <h2 id={id} className="font-semibold text-lg">
            {title}
          </h2>
          {hint && <p className="text-text-muted">{hint}</p>}
        </div>
        {action}
      </div>
      {children}
    </section>
  );
}

/** A list of rows with separators. */
export function Rows({ children }: { children: ReactNode }) {
  return <ul className="flex flex-col divide-y divide-hairline border-hairline border-y">{children}</ul>;
}

/** `below` spans the row's full width. */
export function Row({
  children,
  actions,
  below,
}: {
  children: ReactNode;
  actions?: ReactNode;
  below?: ReactNode;
}) {
  return (
    <li className="flex flex-wrap items-center gap-x-3 gap-y-2 py-3">
      <div className="min-w-0 flex-1 basis-56">{children}</div>
      {actions && <div className="flex shrink-0 items-center gap-1">{actions}</div>}
      {below && <div className="min-w-0 basis-full">{below}</div>}
    </li>
  );
}

/** A small state label next to a name. */
export function Badge({
  children,
  tone = "quiet",
}: {
  children: ReactNode;
  tone?: "quiet" | "accent" | "danger";
}) {
  const tones = {
    quiet: "bg-surface-quiet text-text-muted",
    accent: "bg-accent-quiet text-accent",
    danger: "bg-danger-quiet text-danger",
  };
  return <span className={`rounded-control px-1.5 py-0.5 text-xs ${tones[tone]}`}>{children}</span>;
}
