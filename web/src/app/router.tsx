import { createRootRoute, createRoute, createRouter, Outlet } from "@tanstack/react-router";
import { lazy, Suspense } from "react";
import { ChatPage } from "@/routes/chat-page";
import { NewChatPage } from "@/routes/new-chat-page";
import { NotFoundPage } from "@/routes/not-found-page";
import { StoredChatsPage } from "@/routes/stored-chats-page";
import { Shell } from "./shell";

// Pages other than the chat are loaded when they are first opened.
const FilesPage = lazy(() => import("@/routes/files-page").then((module) => ({ default: module.FilesPage })));
const SearchPage = lazy(() =>
  import("@/routes/search-page").then((module) => ({ default: module.SearchPage })),
);
const SharedPage = lazy(() =>
  import("@/routes/shared-page").then((module) => ({ default: module.SharedPage })),
);
const InvitationPage = lazy(() =>
  import("@/routes/invitation-page").then((module) => ({ default: module.InvitationPage })),
);
const projects = () => import("@/routes/projects-page");
const ProjectsPage = lazy(() => projects().then((module) => ({ default: module.ProjectsPage })));
const ProjectPage = lazy(() => projects().then((module) => ({ default: module.ProjectPage })));
const AllChatsPage = lazy(() =>
  import("@/routes/all-chats-page").then((module) => ({ default: module.AllChatsPage })),
);
const DraftPage = lazy(() => import("@/routes/draft-page").then((module) => ({ default: module.DraftPage })));
const DraftsPage = lazy(() =>
  import("@/routes/drafts-page").then((module) => ({ default: module.DraftsPage })),
);
const settings = () => import("@/routes/settings-page");
const GeneralPage = lazy(() => settings().then((module) => ({ default: module.GeneralPage })));
const ProvidersPage = lazy(() => settings().then((module) => ({ default: module.ProvidersPage })));
const ToolsPage = lazy(() => settings().then((module) => ({ default: module.ToolsPage })));
const ToolSignInPage = lazy(() => settings().then((module) => ({ default: module.ToolSignInPage })));
const ApprovalsPage = lazy(() => settings().then((module) => ({ default: module.ApprovalsPage })));
const UsagePage = lazy(() => settings().then((module) => ({ default: module.UsagePage })));
const LimitsPage = lazy(() => settings().then((module) => ({ default: module.LimitsPage })));
const PlanPage = lazy(() => settings().then((module) => ({ default: module.PlanPage })));
const PlansPage = lazy(() => settings().then((module) => ({ default: module.PlansPage })));
const PricesPage = lazy(() => settings().then((module) => ({ default: module.PricesPage })));
const SecurityPage = lazy(() => settings().then((module) => ({ default: module.SecurityPage })));
const DataPage = lazy(() => settings().then((module) => ({ default: module.DataPage })));
const AuditPage = lazy(() => settings().then((module) => ({ default: module.AuditPage })));
const ServerPage = lazy(() => settings().then((module) => ({ default: module.ServerPage })));
const PeoplePage = lazy(() => settings().then((module) => ({ default: module.PeoplePage })));

const topRoute = createRootRoute({ component: Outlet, notFoundComponent: NotFoundPage });
/** All pages that need a sign-in. */
const rootRoute = createRoute({ getParentRoute: () => topRoute, id: "own", component: Shell });
const sharedRoute = createRoute({
  getParentRoute: () => topRoute,
  path: "/shared/$token",
  component: function Shared() {
    return (
      <Suspense fallback={<div className="h-dvh" aria-busy="true" />}>
        <SharedPage token={sharedRoute.useParams().token} />
      </Suspense>
    );
  },
});
const invitationRoute = createRoute({
  getParentRoute: () => topRoute,
  path: "/invitation/$token",
  component: function Invitation() {
    return (
      <Suspense fallback={<div className="h-dvh" aria-busy="true" />}>
        <InvitationPage token={invitationRoute.useParams().token} />
      </Suspense>
    );
  },
});
const chatRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/c/$chatId",
  validateSearch: (search): { m?: string } => (typeof search.m === "string" ? { m: search.m } : {}),
  component: function Chat() {
    const { chatId } = chatRoute.useParams();
    return <ChatPage key={chatId} chatId={chatId} messageId={chatRoute.useSearch().m} />;
  },
});
const newChatRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/",
  validateSearch: (search): { project?: string } =>
    typeof search.project === "string" ? { project: search.project } : {},
  component: function New() {
    const { project } = newChatRoute.useSearch();
    return <NewChatPage key={project} projectId={project} />;
  },
});
const projectRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/p/$projectId",
  component: function Project() {
    return <ProjectPage projectId={projectRoute.useParams().projectId} />;
  },
});
const draftRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/d/$draftId",
  component: function Draft() {
    const { draftId } = draftRoute.useParams();
    return <DraftPage key={draftId} draftId={draftId} />;
  },
});
const allChatsRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/chats",
  validateSearch: (search): { shown?: "archived" | "trash" } =>
    search.shown === "archived" || search.shown === "trash" ? { shown: search.shown } : {},
  component: function All() {
    return <AllChatsPage shown={allChatsRoute.useSearch().shown ?? "active"} />;
  },
});
const searchRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/search",
  // The router parses digits as a number.
  validateSearch: (search): { q?: string; chat?: string } => ({
    ...(search.q === undefined ? {} : { q: String(search.q) }),
    ...(typeof search.chat === "string" ? { chat: search.chat } : {}),
  }),
  component: function Search() {
    const { q, chat } = searchRoute.useSearch();
    return <SearchPage typed={q ?? ""} chatId={chat} />;
  },
});

const toolsRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/settings/tools",
  validateSearch: (search): { chat?: string } =>
    typeof search.chat === "string" ? { chat: search.chat } : {},
  component: function Tools() {
    return <ToolsPage chatId={toolsRoute.useSearch().chat} />;
  },
});

const planRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/settings/plan",
  validateSearch: (search): { bought?: 1 } => (search.bought ? { bought: 1 } : {}),
  component: function Plan() {
    return <PlanPage hasBought={planRoute.useSearch().bought === 1} />;
  },
});

export const router = createRouter({
  routeTree: topRoute.addChildren([
    sharedRoute,
    invitationRoute,
    rootRoute.addChildren([
      newChatRoute,
      projectRoute,
      createRoute({ getParentRoute: () => rootRoute, path: "/projects", component: ProjectsPage }),
      chatRoute,
      allChatsRoute,
      searchRoute,
      draftRoute,
      createRoute({ getParentRoute: () => rootRoute, path: "/drafts", component: DraftsPage }),
      createRoute({ getParentRoute: () => rootRoute, path: "/settings", component: GeneralPage }),
      createRoute({ getParentRoute: () => rootRoute, path: "/settings/providers", component: ProvidersPage }),
      toolsRoute,
      planRoute,
      createRoute({
        getParentRoute: () => rootRoute,
        path: "/tool-servers/sign-in",
        component: ToolSignInPage,
      }),
      createRoute({ getParentRoute: () => rootRoute, path: "/approvals", component: ApprovalsPage }),
      createRoute({ getParentRoute: () => rootRoute, path: "/settings/usage", component: UsagePage }),
      createRoute({ getParentRoute: () => rootRoute, path: "/settings/limits", component: LimitsPage }),
      createRoute({ getParentRoute: () => rootRoute, path: "/settings/plans", component: PlansPage }),
      createRoute({ getParentRoute: () => rootRoute, path: "/settings/prices", component: PricesPage }),
      createRoute({ getParentRoute: () => rootRoute, path: "/settings/security", component: SecurityPage }),
      createRoute({ getParentRoute: () => rootRoute, path: "/settings/people", component: PeoplePage }),
      createRoute({ getParentRoute: () => rootRoute, path: "/settings/audit", component: AuditPage }),
      createRoute({ getParentRoute: () => rootRoute, path: "/settings/server", component: ServerPage }),
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
      createRoute({ getParentRoute: () => rootRoute, path: "$", component: NotFoundPage }),
      createRoute({ getParentRoute: () => rootRoute, path: "/files", component: FilesPage }),
      createRoute({ getParentRoute: () => rootRoute, path: "/settings/data", component: DataPage }),
    ]),
  ]),
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
