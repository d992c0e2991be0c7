import type { ButtonHTMLAttributes, ReactNode } from "react";
import { cx } from "./class-names";

type Props = ButtonHTMLAttributes<HTMLButtonElement> & { look?: "primary" | "quiet" | "plain" };

const LOOKS = {
  primary: "bg-accent text-on-accent hover:bg-accent-hover",
  quiet: "border border-hairline-strong hover:bg-surface-hover",
  plain: "text-text-muted hover:bg-surface-hover hover:text-text",
};

/** Return the classes of a button, for links that look like one. */
export function buttonLook(look: keyof typeof LOOKS, className?: string): string {
  return cx(
    "inline-flex min-h-9 items-center justify-center gap-2 rounded-control px-3 font-medium transition-colors duration-150",
    "disabled:opacity-50",
    LOOKS[look],
    className,
  );
}

export function Button({ look = "quiet", className, type = "button", ...rest }: Props) {
  return <button type={type} className={buttonLook(look, className)} {...rest} />;
}

type IconProps = ButtonHTMLAttributes<HTMLButtonElement> & { label: string; children: ReactNode };

/** A button with only an icon. Its label is read aloud and shown on hover. */
export function IconButton({ label, className, type = "button", ...rest }: IconProps) {
  return (
    <button
      type={type}
      aria-label={label}
      title={label}
      className={cx(
        "inline-flex size-8 shrink-0 items-center justify-center rounded-control text-text-muted transition-colors duration-150",
        "hover:bg-surface-hover hover:text-text disabled:opacity-40 pointer-coarse:size-10",
        className,
      )}
      {...rest}
    />
  );
}
