import { infiniteQueryOptions, type QueryClient, queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";

export type Project = Schemas["ProjectRead"];
export type Member = Schemas["MemberRead"];
export type Channel = Schemas["ChannelRead"];
export type ProjectChat = Schemas["ChatRead"];
type Page<T> = { items: T[]; next_cursor: string | null };

export const projectsQuery = (status: Project["status"] = "active") =>
  queryOptions({
    queryKey: ["projects", status],
    queryFn: ({ signal }) =>
      api<Schemas["ProjectList"]>("GET", "/projects", { query: { status }, signal }).then(
        (list) => list.items,
      ),
    staleTime: Number.POSITIVE_INFINITY, // kept right by the event stream
  });

export const projectQuery = (id: string) =>
  queryOptions({
    queryKey: ["project", id],
    queryFn: ({ signal }) => api<Project>("GET", `/projects/${id}`, { signal }),
    staleTime: Number.POSITIVE_INFINITY,
  });

/** The channels of all projects of the user, with what is new in them. */
export const channelsQuery = queryOptions({
  queryKey: ["channels"],
  queryFn: ({ signal }) =>
    api<Schemas["ChannelList"]>("GET", "/channels", { signal }).then((list) => list.items),
  staleTime: Number.POSITIVE_INFINITY, // kept right by the event stream
});
export const getChannel = (id: string) => api<Channel>("GET", `/channels/${id}`);
export const createChannel = (projectId: string, body: Schemas["ChannelCreate"], key: string) =>
  api<Channel>("POST", `/projects/${projectId}/channels`, { body, key });
export const updateChannel = (id: string, body: Schemas["ChannelUpdate"]) =>
  api<Channel>("PATCH", `/channels/${id}`, { body });
export const deleteChannel = (id: string) => api<void>("DELETE", `/channels/${id}`);
export const restoreChannel = (id: string) => api<Channel>("POST", `/channels/${id}/restore`);
export const readChannel = (id: string, messageId: string) =>
  api<Channel>("PUT", `/channels/${id}/read`, { body: { message_id: messageId } });
export const muteChannel = (id: string, isMuted: boolean) =>
  api<Channel>("PUT", `/channels/${id}/muted`, { body: { is_muted: isMuted } });

/** Place a channel as the server answered it. */
export function placeChannel(client: QueryClient, channel: Channel): void {
  client.setQueryData(channelsQuery.queryKey, (known) =>
    known?.map((item) => (item.id === channel.id ? channel : item)),
  );
}

function pagesOf<T>(key: readonly unknown[], path: string, query: Record<string, string> = {}) {
  return infiniteQueryOptions({
    queryKey: key,
    queryFn: ({ pageParam, signal }) =>
      api<Page<T>>("GET", path, { query: { ...query, cursor: pageParam }, signal }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });
}

export const membersQuery = (id: string) =>
  pagesOf<Member>(["project", id, "members"], `/projects/${id}/members`);
/** The first members of a project, to be suggested after an @. Others are named by typing. */
export const mentionablesQuery = (id: string) =>
  queryOptions({
    queryKey: ["project", id, "mentionables"],
    queryFn: ({ signal }) =>
      api<Page<Member>>("GET", `/projects/${id}/members`, { query: { limit: "200" }, signal }).then(
        (page) => page.items,
      ),
    staleTime: 60_000,
  });
/** The own chats of a project, and those that others opened to its members. */
export const projectChatsQuery = (id: string) =>
  pagesOf<ProjectChat>(["project-chats", id], "/chats", { project_id: id });

export const createProject = (body: Schemas["ProjectCreate"], key: string) =>
  api<Project>("POST", "/projects", { body, key });
export const updateProject = (id: string, body: Schemas["ProjectUpdate"]) =>
  api<Project>("PATCH", `/projects/${id}`, { body });
export const deleteProject = (id: string) => api<void>("DELETE", `/projects/${id}`);
export const restoreProject = (id: string) => api<Project>("POST", `/projects/${id}/restore`);
export const addMember = (id: string, body: Schemas["MemberCreate"]) =>
  api<Member>("POST", `/projects/${id}/members`, { body });
export const updateMember = (id: string, userId: string, role: Member["role"]) =>
  api<Member>("PATCH", `/projects/${id}/members/${userId}`, { body: { role } });
export const removeMember = (id: string, userId: string) =>
  api<void>("DELETE", `/projects/${id}/members/${userId}`);

/** Move an own chat into a project, or out of the one that it is in (null). */
export const moveChat = (
  chat: Pick<ProjectChat, "id" | "project_id">,
  projectId: string | null,
  isOpen = false,
): Promise<ProjectChat> => {
  if (projectId)
    return api("PUT", `/projects/${projectId}/chats/${chat.id}`, { body: { is_open_to_project: isOpen } });
  return chat.project_id
    ? api("DELETE", `/projects/${chat.project_id}/chats/${chat.id}`)
    : api("GET", `/chats/${chat.id}`);
};
