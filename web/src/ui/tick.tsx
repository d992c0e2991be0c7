import { Checkbox } from "@base-ui/react/checkbox";
import { Check } from "lucide-react";

type Props = { label: string; isOn: boolean; isDisabled?: boolean; onChange: (isOn: boolean) => void };

/** A checkbox. Its label is read aloud, and rendered by the parent. */
export function Tick({ label, isOn, isDisabled = false, onChange }: Props) {
  return (
    <Checkbox.Root
      aria-label={label}
      checked={isOn}
      disabled={isDisabled}
      onCheckedChange={onChange}
      className="flex size-5 shrink-0 items-center justify-center rounded border border-hairline-strong data-[checked]:border-accent data-[checked]:bg-accent data-[checked]:text-on-accent"
    >
      <Checkbox.Indicator>
        <Check size={14} strokeWidth={2} aria-hidden />
      </Checkbox.Indicator>
    </Checkbox.Root>
  );
}
