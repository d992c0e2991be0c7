import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { describe, expect, it } from "vitest";
import type { Schemas } from "@/api/client";
import { meQuery } from "@/features/accounts";
import type { ChangeEvent, Tell } from "@/realtime/protocol";
import { makeCall, makeChat, makeMessage, makeUser } from "@/test/factories";
import { fakeServer, problem } from "@/test/server";
import { keepLive } from "./live-cache";

/** A cache that follows a stream whose events the test sends. */
function live() {
  const client = new QueryClient();
  let tell: (message: Tell) => void = () => {};
  keepLive(client, {
    listen: (listener) => {
      tell = listener;
      return () => true;
    },
  });
  const settle = () => new Promise((done) => setTimeout(done, 5));
  const change = async (
    fields: { entity: ChangeEvent["entity"] } & Partial<
      Record<"topic" | "entity_id" | "operation", string>
    > & {
        payload?: unknown;
      },
  ) => {
    tell({
      tell: "change",
      change: {
        topic: "chat:c1",
        entity_id: "x",
        operation: "updated",
        payload: null,
        ...fields,
      } as ChangeEvent,
    });
    await settle();
  };
  const pages = (items: unknown[]) => ({ pages: [{ items, next_cursor: null }], pageParams: [undefined] });
  return {
    client,
    change,
    settle,
    tell: (message: Tell) => tell(message),
    set: (key: unknown[], data: unknown) => client.setQueryData(key, data),
    setPages: (key: unknown[], items: unknown[]) => client.setQueryData(key, pages(items)),
    get: <T>(key: unknown[]) => client.getQueryData<T>(key),
    items: (key: unknown[]) =>
      client
        .getQueryData<ReturnType<typeof pages>>(key)
        ?.pages.flatMap((page) => page.items as { id: string }[])
        .map((page) => page.id),
    isStale: (key: unknown[]) => client.getQueryState(key)?.isInvalidated,
  };
}

describe("the connection", () => {
  function observed(known: Schemas["UserRead"] | undefined) {
    const page = live();
    if (known) page.set(["me"], known);
    let requests = 0;
    new QueryObserver(page.client, {
      ...meQuery,
      queryFn: () => {
        requests += 1;
        return Promise.reject(new Error("not signed in"));
      },
      retry: false,
      staleTime: Number.POSITIVE_INFINITY,
    }).subscribe(() => {});
    return { ...page, asked: () => requests };
  }

  it("does not ask again who a visitor is, so that the sign-in form keeps what was typed", async () => {
    const page = observed(undefined);
    await page.settle();
    page.tell({ tell: "connection", state: "signed-out" });
    await page.settle();
    expect(page.asked()).toBe(1);
  });

  it("asks who a person is that was signed out elsewhere", async () => {
    const page = observed(makeUser());
    await page.settle();
    page.tell({ tell: "connection", state: "signed-out" });
    await page.settle();
    expect(page.asked()).toBe(1);
  });

  it("loads everything again when events were missed", async () => {
    const page = live();
    page.set(["chats", "active"], 1);
    page.set(["drafts", false], 1);
    page.tell({ tell: "reload" });
    await page.settle();
    expect([page.isStale(["chats", "active"]), page.isStale(["drafts", false])]).toEqual([true, true]);
  });
});

describe("a change of a message", () => {
  it("places a new one after the newest, and marks what is sent as out of date", async () => {
    const page = live();
    const first = makeMessage({ id: "a" });
    page.setPages(["messages", "c1"], [first]);
    page.set(["context", "c1"], {});
    page.set(["tree", "c1"], {});
    await page.change({
      entity: "message",
      entity_id: "b",
      operation: "created",
      payload: makeMessage({ id: "b", previous_message_id: "a" }),
    });
    expect(page.items(["messages", "c1"])).toEqual(["b", "a"]);
    expect([page.isStale(["context", "c1"]), page.isStale(["tree", "c1"])]).toEqual([true, true]);
  });

  it("loads nothing for a chat that is not open", async () => {
    const server = fakeServer({});
    await live().change({ entity: "message", entity_id: "b", operation: "created" });
    expect(server.calls).toEqual([]);
  });

  it("fetches one that is told without its text", async () => {
    fakeServer({ "GET /messages/b": makeMessage({ id: "b", previous_message_id: "a" }) });
    const page = live();
    page.setPages(["messages", "c1"], [makeMessage({ id: "a" })]);
    await page.change({ entity: "message", entity_id: "b", operation: "created" });
    expect(page.items(["messages", "c1"])).toEqual(["b", "a"]);
  });

  it("ignores one that was deleted before it could be fetched", async () => {
    fakeServer({ "GET /messages/b": problem(404, "message_not_found", "It is gone.") });
    const page = live();
    page.setPages(["messages", "c1"], [makeMessage({ id: "a" })]);
    page.set(["drafts", false], []);
    await page.change({ entity: "message", entity_id: "b", operation: "created" });
    expect(page.items(["messages", "c1"])).toEqual(["a"]);
    expect(page.isStale(["drafts", false])).toBe(false);
  });

  it("loads everything again when fetching one fails", async () => {
    fakeServer({ "GET /messages/b": problem(503, "storage_unavailable", "The database does not answer.") });
    const page = live();
    page.setPages(["messages", "c1"], [makeMessage({ id: "a" })]);
    page.set(["drafts", false], []);
    await page.change({ entity: "message", entity_id: "b", operation: "created" });
    expect(page.isStale(["drafts", false])).toBe(true);
  });

  it("removes a deleted one from the middle, and fetches the branch when it was the newest", async () => {
    const page = live();
    const [first, second] = [makeMessage({ id: "a" }), makeMessage({ id: "b", previous_message_id: "a" })];
    page.setPages(["messages", "c1"], [makeMessage({ id: "c", previous_message_id: "b" }), second, first]);
    await page.change({ entity: "message", entity_id: "b", operation: "deleted", payload: second });
    expect(page.items(["messages", "c1"])).toEqual(["c", "a"]);
    expect(page.isStale(["messages", "c1"])).toBe(false);
    await page.change({
      entity: "message",
      entity_id: "c",
      operation: "deleted",
      payload: makeMessage({ id: "c" }),
    });
    expect(page.items(["messages", "c1"])).toEqual(["a"]);
    expect(page.isStale(["messages", "c1"])).toBe(true);
  });

  it("places a reply in its thread", async () => {
    const page = live();
    page.setPages(["messages", "c1"], [makeMessage({ id: "a" })]);
    page.setPages(["thread", "a"], []);
    const reply = makeMessage({ id: "t", parent_message_id: "a", thread_level: 1 });
    await page.change({ entity: "message", entity_id: "t", operation: "created", payload: reply });
    expect([page.items(["messages", "c1"]), page.items(["thread", "a"])]).toEqual([["a"], ["t"]]);
    await page.change({ entity: "message", entity_id: "t", operation: "deleted", payload: reply });
    expect(page.items(["thread", "a"])).toEqual([]);
  });
});

describe("a change of a chat", () => {
  it("moves it into the list to which it belongs", async () => {
    const page = live();
    page.setPages(["chats", "active"], [makeChat()]);
    page.setPages(["chats", "archived"], []);
    await page.change({ entity: "chat", entity_id: "c1", payload: makeChat({ is_archived: true }) });
    expect([page.items(["chats", "active"]), page.items(["chats", "archived"])]).toEqual([[], ["c1"]]);
  });

  it("removes one that is no longer shared", async () => {
    const page = live();
    page.setPages(["chats", "active"], [makeChat()]);
    await page.change({ entity: "chat", entity_id: "c1", operation: "deleted" });
    expect(page.items(["chats", "active"])).toEqual([]);
  });

  it("fetches one of another person, about which nothing is told", async () => {
    fakeServer({ "GET /chats/c1": makeChat({ title: "New title", owner: { id: "bob", name: "Bob" } }) });
    const page = live();
    await page.change({ entity: "chat", entity_id: "c1" });
    expect(page.get<Schemas["ChatRead"]>(["chat", "c1"])?.title).toBe("New title");
  });
});

describe("a change that only marks what is loaded as out of date", () => {
  it.each<[ChangeEvent["entity"], string, unknown[][]]>([
    ["tag", "user:me", [["tags"], ["tagged", "t1"]]],
    ["share", "chat:c1", [["shared-chats"], ["shared-drafts"], ["shares", "chats", "c1"]]],
    [
      "context_optimization",
      "chat:c1",
      [
        ["context-optimizations", "c1"],
        ["context", "c1"],
      ],
    ],
    [
      "run",
      "chat:c1",
      [
        ["run", "x"],
        ["usage", "day", 30],
      ],
    ],
    ["project", "project:p1", [["projects"], ["project", "x"], ["project-chats", "x"], ["chat", "c1"]]],
    ["session", "user:me", [["session"]]],
    ["api_token", "user:me", [["api_token"]]],
    ["provider_config", "user:me", [["provider_config"], ["models"]]],
    ["tool_server", "user:me", [["tool-servers"], ["tools"]]],
    [
      "tool_execution",
      "chat:c1",
      [["tool-executions", "m1"], ["pending-calls"], ["tool-history", null, null], ["tool-usage", null]],
    ],
    ["chat_state", "chat:c1", [["chat-state", "x"]]],
    ["quota_notice", "user:me", [["limits", null], ["limit-notices"]]],
    ["import_job", "user:me", [["imports"]]],
    ["attachment", "user:me", [["attachments", "any", "newest", false], ["storage"]]],
    [
      "draft",
      "draft:d1",
      [
        ["drafts", false],
        ["draft-chats", "d1"],
        ["attached-drafts", "c1"],
        ["shared-drafts"],
        ["draft", "d1"],
      ],
    ],
    ["draft_version", "draft:d1", [["draft-versions", "d1"]]],
    ["proposal", "draft:d1", [["draft-proposals", "d1"]]],
    ["attached_draft", "chat:c1", [["attached-drafts", "c1"]]],
  ])("of %s", async (entity, topic, keys) => {
    const page = live();
    for (const key of keys) page.set(key, {});
    page.set(["untouched"], {});
    await page.change({ entity, topic });
    expect(keys.map(page.isStale)).toEqual(keys.map(() => true));
    expect(page.isStale(["untouched"])).toBe(false);
  });
});

describe("a change that brings what is shown", () => {
  it.each<[ChangeEvent["entity"], string, unknown[]]>([
    ["user", "user:me", ["me"]],
    ["run", "chat:c1", ["run", "x"]],
    ["auto_approval_setting", "user:me", ["tool-rules"]],
    ["chat_state", "chat:c1", ["chat-state", "x"]],
    ["attachment", "user:me", ["attachment", "x"]],
  ])("of %s", async (entity, topic, key) => {
    const page = live();
    page.set(key, { old: true });
    await page.change({ entity, topic, payload: { new: true } });
    expect(page.get(key)).toEqual({ new: true });
  });

  it("of a draft keeps the text, which the change does not bring", async () => {
    const page = live();
    page.set(["draft", "d1"], { title: "Old", current_version: 3 });
    await page.change({ entity: "draft", topic: "draft:d1", payload: { title: "New" } as never });
    expect(page.get(["draft", "d1"])).toEqual({ title: "New", current_version: 3 });
  });

  it("of a tool call places it, and an older one does not replace a newer one", async () => {
    const page = live();
    const call = makeCall({ status: "completed", updated_at: "2026-11-22T12:00:02Z" });
    page.set(["tool-executions", "m1"], [makeCall()]);
    page.set(["pending-calls"], [makeCall()]);
    await page.change({ entity: "tool_execution", payload: call });
    expect(page.get(["tool-executions", "m1"])).toEqual([call]);
    expect(page.get(["pending-calls"])).toEqual([]);
    await page.change({
      entity: "tool_execution",
      payload: makeCall({ updated_at: "2026-11-22T12:00:01Z" }),
    });
    expect(page.get(["tool-executions", "m1"])).toEqual([call]);
  });

  it("of a working copy is left to the open editor", async () => {
    const page = live();
    page.set(["draft", "d1"], { title: "Letter" });
    await page.change({ entity: "draft_working_copy", topic: "draft:d1" });
    expect(page.isStale(["draft", "d1"])).toBe(false);
  });
});
