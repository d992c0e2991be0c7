import { createRootRoute, createRoute, createRouter } from "@tanstack/react-router";
import { ChatPage } from "@/routes/chat-page";
import { NewChatPage } from "@/routes/new-chat-page";
import { NotFoundPage } from "@/routes/not-found-page";
import { GeneralPage, PeoplePage, ProvidersPage, SecurityPage, UsagePage } from "@/routes/settings-page";
import { StoredChatsPage } from "@/routes/stored-chats-page";
import { Shell } from "./shell";

const rootRoute = createRootRoute({ component: Shell, notFoundComponent: NotFoundPage });
const chatRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/c/$chatId",
  component: function Chat() {
    return <ChatPage chatId={chatRoute.useParams().chatId} />;
  },
});

export const router = createRouter({
  routeTree: rootRoute.addChildren([
    createRoute({ getParentRoute: () => rootRoute, path: "/", component: NewChatPage }),
    chatRoute,
    createRoute({ getParentRoute: () => rootRoute, path: "/settings", component: GeneralPage }),
    createRoute({ getParentRoute: () => rootRoute, path: "/settings/providers", component: ProvidersPage }),
    createRoute({ getParentRoute: () => rootRoute, path: "/settings/usage", component: UsagePage }),
    createRoute({ getParentRoute: () => rootRoute, path: "/settings/security", component: SecurityPage }),
    createRoute({ getParentRoute: () => rootRoute, path: "/settings/people", component: PeoplePage }),
    createRoute({
      getParentRoute: () => rootRoute,
      path: "/archive",
      component: () => <StoredChatsPage shown="archived" title="Archive" />,
    }),
    createRoute({
      getParentRoute: () => rootRoute,
      path: "/trash",
      component: () => <StoredChatsPage shown="trash" title="Trash" />,
    }),
  ]),
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
