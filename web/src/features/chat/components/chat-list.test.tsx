import { act, screen, waitFor, within } from "@testing-library/react";
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { Schemas } from "@/api/client";
import { makeChat } from "@/test/factories";
import { chooseEntry, renderApp } from "@/test/render";
import { type Call, fakeServer, page, problem } from "@/test/server";
import { ChatList, OwnChats } from "./chat-list";

type Chat = Schemas["ChatRead"];
const ago = (days: number) => new Date(Date.now() - days * 86_400_000).toISOString();

let scrollToEnd = () => {};
beforeEach(() => {
  // jsdom has no layout: a test says itself when the end of the list is seen.
  vi.stubGlobal(
    "IntersectionObserver",
    class {
      constructor(seen: (entries: { isIntersecting: boolean }[]) => void) {
        scrollToEnd = () => seen([{ isIntersecting: true }]);
      }
      observe() {}
      disconnect() {}
    },
  );
});

type Lists = { active?: Chat[]; pinned?: Chat[]; shared?: Chat[]; tagged?: Chat[]; tags?: object[] };

function routesOf({ active = [], pinned = [], shared = [], tagged = [], tags = [] }: Lists) {
  return {
    "GET /chats": ({ query }: Call) =>
      page(query.get("tag") ? tagged : query.get("pinned") ? pinned : active),
    "GET /shared-chats": page(shared),
    "GET /tags": { items: tags },
  };
}

function open(lists: Lists, routes: object = {}) {
  const server = fakeServer({ ...routesOf(lists), ...routes });
  const onOpen = vi.fn();
  return { server, onOpen, ...renderApp(<OwnChats onOpen={onOpen} />) };
}

const titles = (section: string) =>
  within(screen.getByRole("region", { name: section }))
    .getAllByRole("link")
    .map((link) => link.textContent);

describe("the chats of the side bar", () => {
  it("are grouped by the day of their last message", async () => {
    open({
      active: [
        makeChat({ id: "a", title: "Fresh", last_message_at: ago(0) }),
        makeChat({ id: "b", title: "Older", last_message_at: ago(1) }),
        makeChat({ id: "c", title: "Oldest", last_message_at: ago(3) }),
      ],
    });
    await screen.findByText("Fresh");
    expect(screen.getAllByRole("heading").map((heading) => heading.textContent)).toEqual([
      "Today",
      "Yesterday",
      "Last 7 days",
    ]);
    expect(screen.getByRole("link", { name: "Fresh" }).getAttribute("href")).toBe("/c/a");
  });

  it("shows pinned chats once, above the others, and the chats of others with their owner", async () => {
    const pinned = makeChat({ id: "p", title: "Pinned chat", pinned_at: ago(0), last_message_at: ago(0) });
    open({
      active: [pinned, makeChat({ id: "a", title: "Another", last_message_at: ago(0) })],
      pinned: [pinned],
      shared: [makeChat({ id: "s", title: "Of Bob", owner: { id: "bob", name: "Bob" } })],
    });
    await screen.findByText("Of Bob");
    expect(titles("Pinned")).toEqual(["Pinned chat"]);
    expect(titles("Today")).toEqual(["Another"]);
    expect(titles("Shared with you")).toEqual(["Of BobBob"]);
  });

  it("says that there are none", async () => {
    open({});
    await screen.findByText("No chats yet");
  });

  it("offers to try again when they cannot be loaded", async () => {
    const { server, user } = open(
      {},
      { "GET /chats": problem(503, "storage_unavailable", "The database does not answer.") },
    );
    await screen.findByText("The database does not answer.");
    server.set("GET /chats", page([makeChat({ title: "Back again" })]));
    await user.click(screen.getByRole("button", { name: "Try again" }));
    await screen.findByText("Back again");
  });

  it("loads older chats at the end of the list", async () => {
    fakeServer({
      ...routesOf({}),
      "GET /chats": ({ query }: Call) =>
        query.get("cursor")
          ? page([makeChat({ id: "b", title: "Second" })])
          : page([makeChat({ id: "a", title: "First" })], "next"),
    });
    renderApp(<ChatList shown="active" />);
    await screen.findByText("First");
    act(() => scrollToEnd());
    await screen.findByText("Second");
  });

  it("shows only the chats of a chosen tag", async () => {
    const { server, user } = open({
      active: [makeChat({ id: "a", title: "Untagged" })],
      tagged: [makeChat({ id: "b", title: "Tagged", tag_ids: ["t1"] })],
      tags: [{ id: "t1", name: "Work", colour: "green" }],
    });
    await screen.findByText("Untagged");
    await user.click(screen.getByRole("button", { name: "Work" }));
    await screen.findByText("Tagged");
    expect(screen.queryByText("Untagged")).toBeNull();
    expect(server.calls.at(-1)?.query.get("tag")).toBe("t1");
    await user.click(screen.getByRole("button", { name: "Work" }));
    await screen.findByText("Untagged");
  });
});

describe("what can be done with a chat", () => {
  const chat = makeChat({ id: "c1", title: "About bread", last_message_at: ago(0) });
  const patched = { "PATCH /chats/c1": ({ body }: Call) => ({ ...chat, ...(body as object) }) };

  it("is renamed with the keyboard", async () => {
    const { server, user } = open({ active: [chat] }, patched);
    await chooseEntry(user, "Actions for About bread", "Rename");
    const title = await screen.findByRole("textbox", { name: "Title of the chat" });
    await user.clear(title);
    await user.type(title, "About rye{Enter}");
    await screen.findByRole("link", { name: "About rye" });
    expect(server.bodies("PATCH /chats/c1")).toEqual([{ title: "About rye" }]);
  });

  it("keeps its title when renaming is left with Escape, or the title is empty", async () => {
    const { server, user } = open({ active: [chat] }, patched);
    await chooseEntry(user, "Actions for About bread", "Rename");
    await user.type(await screen.findByRole("textbox", { name: "Title of the chat" }), "x{Escape}");
    await chooseEntry(user, "Actions for About bread", "Rename");
    await user.clear(await screen.findByRole("textbox", { name: "Title of the chat" }));
    await user.keyboard("{Enter}");
    await screen.findByRole("link", { name: "About bread" });
    expect(server.bodies("PATCH /chats/c1")).toEqual([]);
  });

  it("gets its old title back when the server refuses the new one", async () => {
    const { user } = open(
      { active: [chat] },
      { "PATCH /chats/c1": problem(422, "invalid", "This title is not allowed.") },
    );
    await chooseEntry(user, "Actions for About bread", "Rename");
    await user.type(await screen.findByRole("textbox", { name: "Title of the chat" }), "!{Enter}");
    await screen.findByText("This title is not allowed.");
    expect(screen.getByRole("link", { name: "About bread" })).toBeTruthy();
  });

  it("is pinned at once", async () => {
    const { server, user } = open({ active: [chat] }, patched);
    await chooseEntry(user, "Actions for About bread", "Pin");
    expect(await screen.findByRole("heading", { name: "Pinned" })).toBeTruthy();
    expect(server.bodies("PATCH /chats/c1")).toEqual([{ is_pinned: true }]);
  });

  it("is archived and taken out again by undo", async () => {
    const { server, user } = open({ active: [chat] }, patched);
    await chooseEntry(user, "Actions for About bread", "Archive");
    await waitFor(() => expect(screen.queryByRole("link", { name: "About bread" })).toBeNull());
    await user.click(await screen.findByRole("button", { name: "Undo" }));
    await screen.findByRole("link", { name: "About bread" });
    expect(server.bodies("PATCH /chats/c1")).toEqual([{ is_archived: true }, { is_archived: false }]);
  });

  it("is deleted and restored by undo", async () => {
    const { server, user } = open(
      { active: [chat] },
      { "DELETE /chats/c1": null, "POST /chats/c1/restore": chat },
    );
    await chooseEntry(user, "Actions for About bread", "Delete");
    await waitFor(() => expect(screen.queryByRole("link", { name: "About bread" })).toBeNull());
    await user.click(await screen.findByRole("button", { name: "Undo" }));
    await screen.findByRole("link", { name: "About bread" });
    expect(server.bodies("POST /chats/c1/restore")).toHaveLength(1);
  });

  it("stays when the server refuses to delete it", async () => {
    const { user } = open(
      { active: [chat] },
      { "DELETE /chats/c1": problem(409, "conflict", "A reply is being written.") },
    );
    await chooseEntry(user, "Actions for About bread", "Delete");
    await screen.findByText("A reply is being written.");
    expect(screen.getByRole("link", { name: "About bread" })).toBeTruthy();
  });

  it("is exported as a file", async () => {
    const { user } = open({ active: [chat] });
    await chooseEntry(user, "Actions for About bread", "Export");
    const link = await screen.findByRole("link", { name: /^Markdown/ });
    expect(link.getAttribute("href")).toBe("/api/v1/chats/c1/export?format=markdown");
  });

  it("can only be restored in the trash", async () => {
    const server = fakeServer({
      ...routesOf({ active: [makeChat({ id: "c1", title: "About bread", deleted_at: ago(0) })] }),
      "POST /chats/c1/restore": chat,
    });
    const { user } = renderApp(<ChatList shown="trash" />);
    await screen.findByText("About bread");
    expect(screen.queryByRole("link", { name: "About bread" })).toBeNull();
    await chooseEntry(user, "Actions for About bread", "Restore");
    await waitFor(() => expect(screen.queryByText("About bread")).toBeNull());
    expect(server.bodies("POST /chats/c1/restore")).toHaveLength(1);
  });
});
