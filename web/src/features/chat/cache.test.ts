import { QueryClient } from "@tanstack/react-query";
import { beforeEach, describe, expect, it } from "vitest";
import { placeChat, placeMessage, removeMessage } from "./cache";
import type { Chat } from "./queries";
import type { Message } from "./reducer";

let client: QueryClient;
beforeEach(() => {
  client = new QueryClient();
});

function message(id: string, previous: string | null, more: Partial<Message> = {}): Message {
  return {
    id,
    chat_id: "c",
    previous_message_id: previous,
    parent_message_id: null,
    sibling_ids: [id],
    updated_at: "2026-11-22T12:00:00Z",
    ...more,
  } as Message;
}

function load(items: Message[], next_cursor: string | null = null): void {
  client.setQueryData(["messages", "c"], { pages: [{ items, next_cursor }], pageParams: [undefined] });
}

function shown(): string[] {
  const data = client.getQueryData<{ pages: { items: Message[] }[] }>(["messages", "c"]);
  return data?.pages.flatMap((page) => page.items.map((item) => item.id)) ?? [];
}

describe("placing a message into what is loaded of its chat", () => {
  it("appends what follows the newest", () => {
    load([message("b", "a"), message("a", null)]);
    placeMessage(client, message("c2", "b"));
    expect(shown()).toEqual(["c2", "b", "a"]);
  });

  it("shows one's own sibling in the place of the one beside it, and of all that followed", () => {
    load([message("c3", "b"), message("b", "a"), message("a", null)]);
    placeMessage(client, message("b2", "a", { sibling_ids: ["b", "b2"] }), true);
    expect(shown()).toEqual(["b2", "a"]);
  });

  it("stays on its branch when another window makes a sibling, and tells of it", () => {
    load([message("c3", "b"), message("b", "a"), message("a", null)]);
    placeMessage(client, message("b2", "a", { sibling_ids: ["b", "b2"] }));
    expect(shown()).toEqual(["c3", "b", "a"]);
    const data = client.getQueryData<{ pages: { items: Message[] }[] }>(["messages", "c"]);
    expect(data?.pages[0]?.items[1]?.sibling_ids).toEqual(["b", "b2"]);
  });

  it("links what followed a deleted message to the one before it", () => {
    load([message("c3", "b"), message("b", "a"), message("a", null)]);
    removeMessage(client, message("b", "a"));
    expect(shown()).toEqual(["c3", "a"]);
    placeMessage(client, message("c4", "a"), true);
    expect(shown()).toEqual(["c4", "a"]);
  });

  it("does not show the same message twice, whichever way it comes", () => {
    load([message("a", null)]);
    placeMessage(client, message("b", "a"));
    placeMessage(client, message("b", "a", { updated_at: "2026-11-22T12:00:01Z" }));
    expect(shown()).toEqual(["b", "a"]);
  });

  it("lets an older telling not undo a newer one", () => {
    load([message("a", null, { content: "new", updated_at: "2026-11-22T12:00:02Z" })]);
    placeMessage(client, message("a", null, { content: "old", updated_at: "2026-11-22T12:00:01Z" }));
    const data = client.getQueryData<{ pages: { items: Message[] }[] }>(["messages", "c"]);
    expect(data?.pages[0]?.items[0]?.content).toBe("new");
  });

  it("leaves a branch alone that it does not belong to", () => {
    load([message("b", "a"), message("a", null)], "more");
    placeMessage(client, message("z", "elsewhere"));
    expect(shown()).toEqual(["b", "a"]);
  });
});

describe("placing a chat into the lists", () => {
  const chat = (id: string, last_message_at: string, more: Partial<Chat> = {}): Chat =>
    ({ id, last_message_at, is_archived: false, pinned_at: null, deleted_at: null, ...more }) as Chat;
  const list = (shownList: string) =>
    client
      .getQueryData<{ pages: { items: Chat[] }[] }>(["chats", shownList])
      ?.pages.flatMap((page) => page.items.map((item) => item.id));

  it("leaves out channels and chats about drafts, which are listed elsewhere", () => {
    client.setQueryData(["chats", "active"], {
      pages: [{ items: [], next_cursor: null }],
      pageParams: [undefined],
    });
    for (const kind of ["channel", "draft"] as const)
      placeChat(client, chat(kind, "2026-11-22T10:00:00Z", { kind }));
    expect(list("active")).toEqual([]);
  });

  it("moves it to where its last message puts it, and out of where it was", () => {
    for (const name of ["active", "trash"])
      client.setQueryData(["chats", name], {
        pages: [{ items: [], next_cursor: null }],
        pageParams: [undefined],
      });
    placeChat(client, chat("one", "2026-11-22T10:00:00Z"));
    placeChat(client, chat("two", "2026-11-22T11:00:00Z"));
    expect(list("active")).toEqual(["two", "one"]);
    placeChat(client, chat("one", "2026-11-22T12:00:00Z"));
    expect(list("active")).toEqual(["one", "two"]);
    placeChat(client, chat("two", "2026-11-22T11:00:00Z", { deleted_at: "2026-11-22T12:30:00Z" }));
    expect(list("active")).toEqual(["one"]);
    expect(list("trash")).toEqual(["two"]);
  });
});
