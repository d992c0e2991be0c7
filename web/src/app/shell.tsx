import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useNavigate } from "@tanstack/react-router";
import { Suspense, useEffect, useState } from "react";
import { ApiError } from "@/api/client";
import { wordsFor } from "@/api/words";
import {
  ConfirmPassword,
  DeletionNotice,
  meQuery,
  placeInTimeZone,
  SetupForm,
  SignInForm,
  setupQuery,
} from "@/features/accounts";
import { PastDueNotice, useLimitNotices } from "@/features/billing";
import { setLanguage } from "@/lib/dates";
import { keepFor } from "@/lib/kept-text";
import { useConnection, useRealtime } from "@/realtime/provider";
import { MenuButtonProvider } from "@/ui/menu-button";
import { Sheet } from "@/ui/sheet";
import { Failed } from "@/ui/states";
import { Boundary } from "./boundary";
import { Palette } from "./palette";
import { Shortcuts } from "./shortcuts";
import { SideBar } from "./side-bar";
import { showTheme } from "./theme";
import { useFinishedNotice } from "./use-finished-notice";

/** Show the pages or the sign-in form. The address stays, so signing in leads back to it. */
export function Shell() {
  const client = useQueryClient();
  const realtime = useRealtime();
  const me = useQuery(meQuery);
  const isStranger = me.error instanceof ApiError && me.error.status === 401;
  const setup = useQuery({ ...setupQuery, enabled: isStranger });
  const enter = (user: typeof me.data) => {
    // The cache may hold data of another user.
    client.removeQueries({ predicate: (query) => query.queryKey[0] !== "me" });
    client.setQueryData(meQuery.queryKey, user);
    realtime.restart();
    if (user) void placeInTimeZone(user);
  };
  const preferences = me.data?.preferences;
  useEffect(() => {
    if (!preferences) return;
    showTheme(preferences.theme);
    setLanguage(preferences.language);
  }, [preferences]);

  if (me.data) {
    keepFor(me.data.id);
    return <Rooms key={me.data.id} />;
  }
  if (isStranger && setup.data)
    return (
      <div className="flex h-full overflow-y-auto">
        {setup.data.required ? <SetupForm onDone={enter} /> : <SignInForm onDone={enter} />}
      </div>
    );
  const error = isStranger ? setup.error : me.error;
  if (error)
    return (
      <Failed words={wordsFor(error)} onRetry={() => void (isStranger ? setup.refetch() : me.refetch())} />
    );
  return <div className="h-full" aria-busy="true" />;
}

/** Side bar and page, with live updates. */
function Rooms() {
  const [isMenuOpen, setMenuOpen] = useState(false);
  useFinishedNotice();
  useLimitNotices();
  const [opened, setOpened] = useState<"palette" | "shortcuts">();
  useKeys(setOpened);
  return (
    <MenuButtonProvider value={() => setMenuOpen(true)}>
      <div className="flex h-dvh">
        <a
          href="#page"
          className="sr-only focus:not-sr-only focus:absolute focus:z-50 focus:m-2 focus:rounded-control focus:bg-surface-raised focus:px-3 focus:py-2"
        >
          Skip to the page
        </a>
        <aside className="hidden w-(--spacing-side) shrink-0 border-hairline border-r bg-surface md:block">
          <SideBar />
        </aside>
        <Sheet
          title="Chats"
          side="left"
          isOpen={isMenuOpen}
          onClose={() => setMenuOpen(false)}
          hasTitle={false}
        >
          <SideBar onOpen={() => setMenuOpen(false)} />
        </Sheet>
        <ConfirmPassword />
        {opened === "palette" && (
          <Palette
            onClose={() => setOpened((now) => (now === "palette" ? undefined : now))}
            showShortcuts={() => setOpened("shortcuts")}
          />
        )}
        {opened === "shortcuts" && <Shortcuts onClose={() => setOpened(undefined)} />}
        <main id="page" className="flex min-w-0 flex-1 flex-col">
          <ConnectionNotice />
          <DeletionNotice
            link={
              <Link to="/settings/security" className="underline">
                Keep it
              </Link>
            }
          />
          <PastDueNotice
            link={
              <Link to="/settings/plan" className="underline">
                Update payment
              </Link>
            }
          />
          <Boundary>
            <Suspense fallback={<div className="flex-1" aria-busy="true" />}>
              <Outlet />
            </Suspense>
          </Boundary>
        </main>
      </div>
    </MenuButtonProvider>
  );
}

/** Global shortcuts. Single letters work only outside text fields. */
function useKeys(open: (what: "palette" | "shortcuts") => void): void {
  const navigate = useNavigate();
  useEffect(() => {
    const listen = (event: KeyboardEvent) => {
      const key = event.key.toLowerCase();
      const isCommand = (event.ctrlKey || event.metaKey) && !event.altKey;
      const isWriting =
        event.target instanceof Element && event.target.closest("input, textarea, [contenteditable]");
      if (isCommand && !event.shiftKey && key === "k") open("palette");
      else if (isCommand && event.shiftKey && key === "f") void navigate({ to: "/search" });
      else if (key === "?" && !isCommand && !isWriting) open("shortcuts");
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", listen);
    return () => removeEventListener("keydown", listen);
  }, [navigate, open]);
}

function ConnectionNotice() {
  const state = useConnection();
  if (state !== "offline") return null;
  return (
    <p role="status" className="bg-surface-quiet px-4 py-2 text-center text-warning">
      Not connected. What you type is kept; the page goes on by itself when the server is back.
    </p>
  );
}
