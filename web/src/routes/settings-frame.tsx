import { useSuspenseQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type ReactNode, useEffect, useRef } from "react";
import { meQuery } from "@/features/accounts";
import { Page } from "./page";

const PARTS = [
  { to: "/settings", label: "General" },
  { to: "/settings/providers", label: "Providers" },
  { to: "/settings/tools", label: "Tools and approvals" },
  { to: "/settings/usage", label: "Usage" },
  { to: "/settings/limits", label: "Limits" },
  { to: "/settings/plan", label: "Plan" },
  { to: "/settings/data", label: "Data" },
  { to: "/settings/security", label: "Password and devices" },
  { to: "/settings/people", label: "People", isForAdmins: true },
  { to: "/settings/plans", label: "Plans", isForAdmins: true },
  { to: "/settings/prices", label: "Prices", isForAdmins: true },
  { to: "/settings/audit", label: "Audit log", isForAdmins: true },
  { to: "/settings/server", label: "Server security", isForAdmins: true },
] as const;

/** The frame of the settings pages, with their navigation. */
export function SettingsFrame({ title, children }: { title: string; children: ReactNode }) {
  const { data: me } = useSuspenseQuery(meQuery);
  const nav = useRef<HTMLElement>(null);
  // On a phone the row of parts scrolls sideways: show the part that is open.
  // biome-ignore lint/correctness/useExhaustiveDependencies: another title is another part
  useEffect(() => {
    const open = nav.current?.querySelector<HTMLElement>("[aria-current=page]");
    if (nav.current && open)
      nav.current.scrollLeft = open.offsetLeft - (nav.current.clientWidth - open.offsetWidth) / 2;
  }, [title]);
  return (
    <Page title={title}>
      <nav
        ref={nav}
        aria-label="Settings"
        className="relative -mx-2 mb-8 flex gap-1 overflow-x-auto border-hairline sm:flex-wrap border-b pb-2 [scrollbar-width:none]"
      >
        {PARTS.filter((part) => !("isForAdmins" in part) || me.role === "admin").map((part) => (
          <Link
            key={part.to}
            to={part.to}
            activeOptions={{ exact: true }}
            className="shrink-0 rounded-control px-3 py-1.5 text-text-muted hover:bg-surface-hover"
            activeProps={{ className: "bg-accent-quiet text-accent!", "aria-current": "page" }}
          >
            {part.label}
          </Link>
        ))}
      </nav>
      {children}
    </Page>
  );
}
