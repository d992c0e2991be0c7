import { infiniteQueryOptions, keepPreviousData, queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";

export type User = Schemas["UserRead"];
export type Device = Schemas["SessionRead"];
export type ApiToken = Schemas["ApiTokenRead"];
export type Invitation = Schemas["InvitationRead"];
type Page<T> = { items: T[]; next_cursor: string | null };

export const meQuery = queryOptions({
  queryKey: ["me"],
  queryFn: ({ signal }) => api<User>("GET", "/me", { signal }),
  staleTime: Number.POSITIVE_INFINITY,
});

export const setupQuery = queryOptions({
  queryKey: ["setup"],
  queryFn: ({ signal }) => api<Schemas["SetupRead"]>("GET", "/setup", { signal }),
});

export const failedSignInsQuery = queryOptions({
  queryKey: ["failed-sign-ins"],
  queryFn: ({ signal }) => api<Schemas["FailedSignIns"]>("GET", "/me/failed-sign-ins", { signal }),
});

/** A paged list that is loaded completely. */
function pagesOf<T>(key: string, path: string, projectId?: string) {
  return infiniteQueryOptions({
    queryKey: [key, ...(projectId ? [projectId] : [])],
    queryFn: ({ pageParam, signal }) =>
      api<Page<T>>("GET", path, { query: { project_id: projectId, cursor: pageParam }, signal }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });
}

export const devicesQuery = pagesOf<Device>("session", "/sessions");
export const apiTokensQuery = pagesOf<ApiToken>("api_token", "/api-tokens");
export const usersQuery = pagesOf<User>("users", "/users");
/** The invitations into this server, or into a project. */
export const invitationsQuery = (projectId?: string) =>
  pagesOf<Invitation>("invitation", "/invitations", projectId);

export type Offer = Schemas["InvitationOffer"];
/** What the link of an invitation offers. */
export const offerQuery = (token: string) =>
  queryOptions({
    queryKey: ["offer", token],
    queryFn: ({ signal }) => api<Offer>("GET", `/invitations/${encodeURIComponent(token)}`, { signal }),
    staleTime: Number.POSITIVE_INFINITY,
  });

export const setUp = (account: Schemas["AccountCreate"]) => api<User>("POST", "/setup", { body: account });
export const signIn = (fields: Schemas["SignIn"]) => api<User>("POST", "/session", { body: fields });
export const signOut = () => api<void>("DELETE", "/session");
export const updateMe = (update: Schemas["MeUpdate"]) => api<User>("PATCH", "/me", { body: update });

/** Tell the server where a new user is, so that days and months begin there. It is tried again at the next sign-in. */
export async function placeInTimeZone(user: User): Promise<void> {
  const time_zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (user.preferences.time_zone || !time_zone) return;
  await updateMe({ preferences: { time_zone } }).catch(() => undefined);
}
export const confirmPassword = (body: Schemas["Confirmation"]) =>
  api<void>("POST", "/session/confirm", { body });
export const changePassword = (body: Schemas["PasswordChange"]) => api<User>("PUT", "/me/password", { body });
export const deleteMe = (body: Schemas["Confirmation"]) => api<User>("DELETE", "/me", { body });
export const restoreMe = () => api<User>("POST", "/me/restore");
export const revokeDevice = (id: string) => api<void>("DELETE", `/sessions/${id}`);
export const createApiToken = (body: Schemas["ApiTokenCreate"], key: string) =>
  api<Schemas["ApiTokenCreated"]>("POST", "/api-tokens", { body, key });
export const revokeApiToken = (id: string) => api<void>("DELETE", `/api-tokens/${id}`);
export const createUser = (body: Schemas["UserCreate"]) => api<User>("POST", "/users", { body });
export const createInvitation = (body: Schemas["InvitationCreate"], key: string) =>
  api<Schemas["InvitationCreated"]>("POST", "/invitations", { body, key });
export const withdrawInvitation = (id: string) => api<void>("DELETE", `/invitations/${id}`);
export const joinProject = (token: string) =>
  api<Schemas["Joined"]>("POST", `/invitations/${encodeURIComponent(token)}/join`);
export const acceptInvitation = (token: string, body: Schemas["InvitationAccept"]) =>
  api<User>("POST", `/invitations/${encodeURIComponent(token)}/accept`, { body });
export const updateUser = (id: string, body: Schemas["UserUpdate"]) =>
  api<User>("PATCH", `/users/${id}`, { body });

export type AuditEntry = Schemas["AuditEntry"];
export type AuditFilter = { username?: string; action?: string; since?: string; until?: string };

export function auditQuery(filter: AuditFilter) {
  return infiniteQueryOptions({
    queryKey: ["audit-log", filter],
    queryFn: ({ pageParam, signal }) =>
      api<Page<AuditEntry>>("GET", "/audit-log", { query: { ...filter, cursor: pageParam }, signal }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    placeholderData: keepPreviousData,
  });
}

export const auditActionsQuery = queryOptions({
  queryKey: ["audit-actions"],
  queryFn: ({ signal }) =>
    api<Schemas["AuditActions"]>("GET", "/audit-log/actions", { signal }).then((list) => list.items),
});

/** Return the address of the log as a file, which the browser downloads. */
export function auditExportPath(filter: AuditFilter, format: "csv" | "jsonl"): string {
  const chosen = Object.entries(filter).filter(([, value]) => value !== undefined) as [string, string][];
  return `/api/v1/audit-log/export?${new URLSearchParams([["format", format], ...chosen])}`;
}
