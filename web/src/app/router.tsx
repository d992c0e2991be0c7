import { createRootRoute, createRoute, createRouter } from "@tanstack/react-router";
import { ChatPage } from "@/routes/chat-page";
import { NewChatPage } from "@/routes/new-chat-page";
import { NotFoundPage } from "@/routes/not-found-page";
import { SearchPage } from "@/routes/search-page";
import { GeneralPage, PeoplePage, ProvidersPage, SecurityPage, UsagePage } from "@/routes/settings-page";
import { StoredChatsPage } from "@/routes/stored-chats-page";
import { Shell } from "./shell";

const rootRoute = createRootRoute({ component: Shell, notFoundComponent: NotFoundPage });
const chatRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/c/$chatId",
  validateSearch: (search): { m?: string } => (typeof search.m === "string" ? { m: search.m } : {}),
  component: function Chat() {
    return <ChatPage chatId={chatRoute.useParams().chatId} messageId={chatRoute.useSearch().m} />;
  },
});
const searchRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/search",
  // A number that is typed comes back as one.
  validateSearch: (search): { q?: string } => (search.q === undefined ? {} : { q: String(search.q) }),
  component: function Search() {
    return <SearchPage typed={searchRoute.useSearch().q ?? ""} />;
  },
});

export const router = createRouter({
  routeTree: rootRoute.addChildren([
    createRoute({ getParentRoute: () => rootRoute, path: "/", component: NewChatPage }),
    chatRoute,
    searchRoute,
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
