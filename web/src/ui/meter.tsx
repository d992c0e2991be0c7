import { Meter as Base } from "@base-ui/react/meter";
import { cx } from "./class-names";

type Props = { label: string; value: number; held?: number; max: number; words: string };

/** A bar that shows how much of a limit is used, and how much more is held for work under way. */
export function Meter({ label, value, held = 0, max, words }: Props) {
  const share = (amount: number) => (max > 0 ? Math.min(100, (amount / max) * 100) : 100);
  const used = share(value);
  return (
    <Base.Root
      value={max > 0 ? Math.min(value, max) : 1}
      max={max > 0 ? max : 1}
      getAriaValueText={() => words}
      className="flex flex-col gap-1"
    >
      <div className="flex flex-wrap items-baseline justify-between gap-x-3 text-sm">
        <Base.Label className="font-medium">{label}</Base.Label>
        <span className="text-text-muted tabular-nums">{words}</span>
      </div>
      <Base.Track className="relative h-2 overflow-hidden rounded-full bg-surface-quiet">
        <div
          className="absolute inset-y-0 left-0 bg-accent-quiet"
          style={{ width: `${share(value + held)}%` }}
        />
        <Base.Indicator
          className={cx(
            "absolute inset-y-0 left-0 rounded-full",
            used >= 100 ? "bg-danger" : used >= 80 ? "bg-warning" : "bg-accent",
          )}
        />
      </Base.Track>
    </Base.Root>
  );
}
