import { Menu as Base } from "@base-ui/react/menu";
import type { ReactElement, ReactNode } from "react";
import { cx } from "./class-names";

export type MenuEntry = {
  key?: string; // if two labels may be equal
  label: string;
  icon?: ReactNode;
  onChoose: () => void;
  isDangerous?: boolean;
};

export function Menu({ trigger, entries }: { trigger: ReactElement; entries: MenuEntry[] }) {
  return (
    <Base.Root>
      <Base.Trigger render={trigger} />
      <Base.Portal>
        <Base.Positioner sideOffset={4} align="end" className="z-50">
          <Base.Popup className="min-w-44 rounded-card border border-hairline bg-surface-raised p-1 shadow-float outline-none">
            {entries.map((entry) => (
              <Base.Item
                key={entry.key ?? entry.label}
                onClick={entry.onChoose}
                className={cx(
                  "flex min-h-9 cursor-default items-center gap-2 rounded-control px-2 outline-none data-[highlighted]:bg-surface-hover",
                  entry.isDangerous && "text-danger",
                )}
              >
                {entry.icon}
                {entry.label}
              </Base.Item>
            ))}
          </Base.Popup>
        </Base.Positioner>
      </Base.Portal>
    </Base.Root>
  );
}
