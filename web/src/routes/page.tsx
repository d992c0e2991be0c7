import { type ReactNode, useEffect } from "react";
import { MenuButton } from "@/ui/menu-button";

/** A page with a title and one column. */
export function Page({ title, children }: { title: string; children: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · Tertulia`;
  }, [title]);
  return (
    <>
      <header className="flex min-h-14 items-center gap-2 border-hairline border-b px-3">
        <MenuButton />
        <h1 className="px-1 font-semibold text-md">{title}</h1>
      </header>
      <div className="min-h-0 flex-1 overflow-y-auto">
        <div className="mx-auto w-full max-w-xl p-6">{children}</div>
      </div>
    </>
  );
}
