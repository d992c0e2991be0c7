import { Select } from "@base-ui/react/select";
import { Check, ChevronsUpDown } from "lucide-react";
import type { ReactNode } from "react";
import { cx } from "./class-names";

export type Option = { value: string; label: string; note?: string; disabled?: boolean };
type Props = {
  label: string;
  value: string;
  options: readonly Option[];
  onChoose: (value: string) => void;
  showLabel?: boolean;
  className?: string;
  icon?: ReactNode;
};

/** A select list. */
export function Choice({ label, value, options, onChoose, showLabel = false, className, icon }: Props) {
  return (
    <Select.Root
      items={[...options]}
      value={value}
      onValueChange={(chosen) => typeof chosen === "string" && chosen !== value && onChoose(chosen)}
    >
      <div className={cx("flex min-w-0 flex-col gap-1", !showLabel && "items-start")}>
        {showLabel && <Select.Label className="font-medium">{label}</Select.Label>}
        <Select.Trigger
          aria-label={showLabel ? undefined : label}
          className={cx(
            "flex min-h-9 min-w-0 max-w-full items-center gap-2 rounded-control px-2 text-left hover:bg-surface-hover data-[popup-open]:bg-surface-hover",
            showLabel && "border border-hairline-strong bg-surface-raised px-3",
            className,
          )}
        >
          {icon}
          <span className="min-w-0 flex-1 truncate">
            <Select.Value />
          </span>
          <Select.Icon className="text-text-muted">
            <ChevronsUpDown size={14} strokeWidth={1.5} aria-hidden />
          </Select.Icon>
        </Select.Trigger>
      </div>
      <Select.Portal>
        <Select.Positioner sideOffset={4} align="start" alignItemWithTrigger={false} className="z-50">
          <Select.Popup className="max-h-[min(24rem,var(--available-height))] min-w-(--anchor-width) max-w-[90vw] overflow-y-auto rounded-card border border-hairline bg-surface-raised p-1 shadow-float outline-none">
            <Select.List>
              {options.map((option) => (
                <Select.Item
                  key={option.value}
                  value={option.value}
                  disabled={option.disabled}
                  className="grid min-h-9 cursor-default grid-cols-[1rem_1fr] items-center gap-2 rounded-control px-2 py-1 outline-none data-[disabled]:opacity-60 data-[highlighted]:bg-surface-hover"
                >
                  <Select.ItemIndicator>
                    <Check size={14} strokeWidth={1.5} aria-hidden />
                  </Select.ItemIndicator>
                  <span className="col-start-2 min-w-0">
                    <Select.ItemText className="block truncate">{option.label}</Select.ItemText>
                    {option.note && <span className="block text-xs text-text-muted">{option.note}</span>}
                  </span>
                </Select.Item>
              ))}
            </Select.List>
          </Select.Popup>
        </Select.Positioner>
      </Select.Portal>
    </Select.Root>
  );
}
