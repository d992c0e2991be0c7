import "@fontsource-variable/source-sans-3/wght.css";
import "@fontsource-variable/source-serif-4/wght.css";
import "@fontsource-variable/jetbrains-mono/wght.css";
import "@/styles/base.css";
import { CSPProvider } from "@base-ui/react/csp-provider";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { ApiError } from "@/api/client";
import { Realtime } from "@/realtime/client";
import { RealtimeProvider } from "@/realtime/provider";
import { ToastProvider } from "@/ui/toast";
import { keepLive } from "./live-cache";
import { router } from "./router";
import { rememberedTheme, showTheme } from "./theme";

showTheme(rememberedTheme());

const client = new QueryClient({
  defaultOptions: {
    queries: {
      retry: (failures, error) => !(error instanceof ApiError && error.status < 500) && failures < 2,
      refetchOnWindowFocus: false,
    },
  },
});
const realtime = new Realtime();
keepLive(client, realtime);
const nonce = document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content;
const root = document.getElementById("root");
if (root)
  createRoot(root).render(
    <StrictMode>
      <CSPProvider nonce={nonce}>
        <QueryClientProvider client={client}>
          <RealtimeProvider value={realtime}>
            <ToastProvider>
              <RouterProvider router={router} />
            </ToastProvider>
          </RealtimeProvider>
        </QueryClientProvider>
      </CSPProvider>
    </StrictMode>,
  );
