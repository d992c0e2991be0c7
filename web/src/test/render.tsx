import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import {
  createMemoryHistory,
  createRootRoute,
  createRoute,
  createRouter,
  RouterProvider,
} from "@tanstack/react-router";
import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { type ReactNode, Suspense } from "react";
import type { Realtime } from "@/realtime/client";
import type { RunEvent, Tell } from "@/realtime/protocol";
import { RealtimeProvider } from "@/realtime/provider";
import { ToastProvider } from "@/ui/toast";

export type User = ReturnType<typeof userEvent.setup>;

/** A connection whose events a test sends itself. */
export function fakeRealtime() {
  const listeners = new Set<(message: Tell) => void>();
  const runs = new Map<string, Set<(event: RunEvent) => void>>();
  const realtime = {
    connection: "online",
    listen: (listener: (message: Tell) => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    follow: (runId: string, listener: (event: RunEvent) => void) => {
      const followers = runs.get(runId) ?? new Set();
      runs.set(runId, followers.add(listener));
      return () => followers.delete(listener);
    },
    restart: () => undefined,
  };
  return {
    realtime: realtime as unknown as Realtime,
    tell: (message: Tell) => {
      for (const listener of [...listeners]) listener(message);
    },
    tellRun: (runId: string, event: RunEvent) => {
      for (const listener of [...(runs.get(runId) ?? [])]) listener(event);
    },
    followed: () => [...runs.keys()],
  };
}

/** Choose an option from a list that opens. */
export async function chooseOption(user: User, list: string, option: string) {
  await user.click(await screen.findByRole("combobox", { name: list }));
  await user.click(await screen.findByRole("option", { name: option }));
}

/** Choose an entry of a menu. */
export async function chooseEntry(user: User, menu: string, entry: string) {
  await user.click(await screen.findByRole("button", { name: menu }));
  await user.click(await screen.findByRole("menuitem", { name: entry }));
}

/** Render inside the app's providers. `address()` returns where a link led. */
export function renderApp(ui: ReactNode, client = newClient()) {
  const live = fakeRealtime();
  const root = createRootRoute();
  const router = createRouter({
    routeTree: root.addChildren([
      createRoute({ getParentRoute: () => root, path: "/", component: () => ui }),
      createRoute({ getParentRoute: () => root, path: "$", component: () => ui }),
    ]),
    history: createMemoryHistory({ initialEntries: ["/"] }),
  });
  const view = render(
    <QueryClientProvider client={client}>
      <RealtimeProvider value={live.realtime}>
        <ToastProvider>
          <Suspense fallback={<p>Loading</p>}>
            {/* biome-ignore lint/suspicious/noExplicitAny: the app's own route tree is another one */}
            <RouterProvider router={router as any} />
          </Suspense>
        </ToastProvider>
      </RealtimeProvider>
    </QueryClientProvider>,
  );
  return {
    ...view,
    ...live,
    client,
    user: userEvent.setup(),
    address: () => router.state.location.href,
  };
}

export function newClient(): QueryClient {
  return new QueryClient({ defaultOptions: { queries: { retry: false } } });
}
