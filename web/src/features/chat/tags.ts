import { queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";
import type { Chat } from "./queries";

export type Tag = Schemas["TagRead"];
export type Colour = Tag["colour"];
export const COLOURS: Colour[] = ["grey", "red", "orange", "green", "blue", "purple"];
/** Complete class names, so that the style sheet includes them. */
export const DOTS: Record<Colour, string> = {
  grey: "bg-tag-grey",
  red: "bg-tag-red",
  orange: "bg-tag-orange",
  green: "bg-tag-green",
  blue: "bg-tag-blue",
  purple: "bg-tag-purple",
};

export const tagsQuery = queryOptions({
  queryKey: ["tags"],
  queryFn: ({ signal }) => api<{ items: Tag[] }>("GET", "/tags", { signal }).then((page) => page.items),
  staleTime: Number.POSITIVE_INFINITY, // kept right by the event stream
});

export const createTag = (name: string, colour: Colour) =>
  api<Tag>("POST", "/tags", { body: { name, colour } });
export const updateTag = (tagId: string, update: { name?: string; colour?: Colour }) =>
  api<Tag>("PATCH", `/tags/${tagId}`, { body: update });
export const deleteTag = (tagId: string) => api<void>("DELETE", `/tags/${tagId}`);
export const restoreTag = (tagId: string) => api<Tag>("POST", `/tags/${tagId}/restore`);
export const mergeTag = (tagId: string, intoId: string) =>
  api<Tag>("POST", `/tags/${tagId}/merge`, { body: { into_id: intoId } });
export const tagChat = (chatId: string, tagId: string, isOn: boolean) =>
  api<Chat>(isOn ? "PUT" : "DELETE", `/chats/${chatId}/tags/${tagId}`);
