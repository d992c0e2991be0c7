import { act, screen, waitFor, within } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import type { Schemas } from "@/api/client";
import { makeChat, makeMessage, makeModel, makeReply } from "@/test/factories";
import { renderApp } from "@/test/render";
import { type Call, fakeServer, page, problem } from "@/test/server";
import type { Message } from "../../reducer";
import * as Chat from ".";
import { presenceLabel } from "./header";
import { statusLabel } from "./messages";

type Options = {
  chat?: Partial<Schemas["ChatRead"]>;
  messages?: Message[] | ReturnType<typeof problem>;
  routes?: Record<string, object | null>;
  isShared?: boolean;
  targetId?: string;
  channel?: Chat.ChannelSlot;
};

/** Newest first, as the server answers. */
function show({ chat, messages = [], routes = {}, isShared = false, targetId, channel }: Options = {}) {
  // jsdom has no layout: without a height the list would show nothing.
  vi.spyOn(Element.prototype, "clientHeight", "get").mockReturnValue(600);
  vi.spyOn(Element.prototype, "clientWidth", "get").mockReturnValue(800);
  const server = fakeServer({
    "GET /chats/c1": makeChat(chat),
    "GET /chats/c1/messages": Array.isArray(messages) ? page(messages) : messages,
    "GET /chats/c1/context-optimizations": page([]),
    ...routes,
  });
  const slots = {
    openChat: vi.fn(),
    toDraft: vi.fn(),
    showToolCall: () => <p>A tool call</p>,
    waitingLabel: () => "Waiting …",
    modelOf: () => ({ ...makeModel(), ignores: ["top_p"] }),
    modelsDialog: vi.fn(
      (dialog: { verb: string; onChoose: (models: never[]) => void; onClose: () => void }) => (
        <button
          type="button"
          onClick={() => {
            dialog.onChoose([
              { provider: "a", model_name: "one" },
              { provider: "b", model_name: "two" },
            ] as never[]);
            dialog.onClose();
          }}
        >
          {dialog.verb}
        </button>
      ),
    ),
  };
  const view = renderApp(
    <Chat.Provider
      chatId="c1"
      targetId={targetId}
      meId="me"
      isShared={isShared}
      slots={slots}
      channel={channel}
    >
      <Chat.Header menu={<p>Menu</p>}>
        <p>Extra action</p>
      </Chat.Header>
      <Chat.Messages />
      <Chat.Status needsApproval={false} />
      <Chat.Composer modelChoice={<p>Model choice</p>}>
        <p>Extra control</p>
      </Chat.Composer>
      <Chat.Panels>
        <p>State of the chat</p>
      </Chat.Panels>
      <Chat.Dialogs />
    </Chat.Provider>,
  );
  return { ...view, server, slots };
}

const sent = (message: Message, reply: Message | null = null, others: unknown[] = []) => ({
  message,
  reply,
  run: null,
  others,
});

describe("the header", () => {
  it("shows the title and sets the title of the window", async () => {
    show({ chat: { title: "Bread" } });
    expect(await screen.findByRole("heading", { name: "Bread" })).toBeTruthy();
    await waitFor(() => expect(document.title).toBe("Bread · Tertulia"));
  });

  it("shows what the chat used", async () => {
    show({ chat: { total_tokens: 12345, total_cost: "1.5" } });
    expect(await screen.findByText("12,345 tokens · $1.50")).toBeTruthy();
  });

  it("hides the settings of another person's chat", async () => {
    show({ chat: { owner: { id: "bob", name: "Bob" } }, routes: { "PUT /chats/c1/presence": null } });
    expect(await screen.findByText("Bob’s chat")).toBeTruthy();
    expect(screen.queryByRole("button", { name: "Chat settings" })).toBeNull();
  });

  it("holds the page's own menu and actions", async () => {
    show();
    expect(await screen.findByText("Menu")).toBeTruthy();
    expect(screen.getByText("Extra action")).toBeTruthy();
  });
});

describe("presence", () => {
  it.each([
    [undefined, [], ""],
    ["Bob", [], "Bob’s chat"],
    [undefined, [{ name: "Eva", isTyping: false }], "also here: Eva"],
    ["Bob", [{ name: "Eva", isTyping: false }], "Bob’s chat · also here: Eva"],
    ["Bob", [{ name: "Eva", isTyping: true }], "Eva is writing …"],
    [
      undefined,
      [
        { name: "Eva", isTyping: true },
        { name: "Max", isTyping: true },
      ],
      "Eva, Max are writing …",
    ],
  ])("of owner %s and %o reads %s", (owner, others, label) => {
    expect(presenceLabel(owner, others)).toBe(label);
  });

  it("of somebody else arrives by the stream, and of oneself does not", async () => {
    const { tell, server } = show({ isShared: true, routes: { "PUT /chats/c1/presence": null } });
    // From then on the chat listens.
    await waitFor(() => expect(server.bodies("PUT /chats/c1/presence")).not.toEqual([]));
    const present = (id: string, name: string) =>
      tell({
        tell: "presence",
        presence: { chat_id: "c1", user: { id, name }, is_typing: false, is_leaving: false },
      });
    act(() => {
      present("me", "Ana");
      present("eva", "Eva");
    });
    expect(await screen.findByText("also here: Eva")).toBeTruthy();
  });
});

describe("the messages", () => {
  it("invite to write while there are none", async () => {
    show();
    expect(await screen.findByText("Nothing said yet")).toBeTruthy();
  });

  it("stand in the order in which they were said", async () => {
    const question = makeMessage({ id: "m1", content: "Why?" });
    show({ messages: [makeReply({ id: "m2", content: "Because.", previous_message_id: "m1" }), question] });
    await screen.findByText("Because.");
    const articles = screen.getAllByRole("article").map((article) => article.getAttribute("aria-label"));
    expect(articles).toEqual(["You", "Reply"]);
  });

  it("can be asked for again when they cannot be loaded", async () => {
    const { server, user } = show({
      messages: problem(503, "storage_unavailable", "Try again in a moment."),
    });
    expect(await screen.findByText("Try again in a moment.")).toBeTruthy();
    server.set("GET /chats/c1/messages", page([makeMessage({ content: "Here again" })]));
    await user.click(screen.getByRole("button", { name: /again/i }));
    expect(await screen.findByText("Here again")).toBeTruthy();
  });

  it("scroll to the one that the address names, loading what lies before it", async () => {
    const target = makeMessage({ id: "old", content: "Long ago" });
    const { server } = show({
      targetId: "old",
      messages: [makeMessage({ id: "new", content: "Today" })],
      routes: { "GET /messages/old": target },
    });
    server.set("GET /chats/c1/messages", ({ query }: { query: URLSearchParams }) =>
      query.get("through") === "old"
        ? page([makeMessage({ id: "new", content: "Today" }), target])
        : page([makeMessage({ id: "new", content: "Today" })]),
    );
    expect(await screen.findByText("Long ago")).toBeTruthy();
  });

  it("open the thread of the one that the address names, if it is in one", async () => {
    show({
      targetId: "inner",
      messages: [makeMessage({ id: "m1" })],
      routes: {
        "GET /messages/inner": makeMessage({ id: "inner", parent_message_id: "m1", thread_level: 1 }),
        "GET /messages/m1": makeMessage({ id: "m1" }),
      },
    });
    expect(await screen.findByRole("heading", { name: "Thread" })).toBeTruthy();
  });
});

describe("the line for screen readers", () => {
  it.each([
    [undefined, undefined, false, ""],
    [{ role: "user", status: "sent" }, undefined, false, ""],
    [{ role: "assistant", status: "sent" }, undefined, false, "The reply is finished."],
    [{ role: "assistant", status: "interrupted" }, undefined, false, "The reply was interrupted."],
    [{ role: "assistant", status: "error" }, undefined, false, "The reply failed."],
    [{ role: "assistant", status: "streaming" }, {}, false, "Answering."],
    [{ role: "assistant", status: "streaming" }, {}, true, "A tool needs your approval."],
  ] as const)("for %o says its state", (last, writing, needsApproval, label) => {
    expect(statusLabel(last, writing, needsApproval)).toBe(label);
  });
});

describe("writing", () => {
  const say = async (view: ReturnType<typeof show>, text: string) => {
    await view.user.type(await screen.findByRole("textbox", { name: "Write a message" }), text);
    await view.user.keyboard("{Enter}");
  };

  it("sends the text once, with a key that makes a repetition harmless", async () => {
    const view = show({
      routes: {
        "POST /chats/c1/messages": { status: 201, body: sent(makeMessage({ id: "m9", content: "Hello" })) },
      },
    });
    await say(view, "Hello");
    expect(await screen.findByText("Hello")).toBeTruthy();
    const calls = view.server.calls.filter((call) => call.method === "POST");
    expect(calls).toHaveLength(1);
    expect(calls[0]?.body).toEqual({ content: "Hello" });
    expect(calls[0]?.headers.get("Idempotency-Key")).toMatch(/^[0-9a-f-]{36}$/);
    expect(screen.getByRole("textbox")).toHaveProperty("value", "");
  });

  it("puts the text back and says why when the server refuses it", async () => {
    const view = show({
      routes: { "POST /chats/c1/messages": problem(429, "too_many_messages", "You sent 20 messages today.") },
    });
    await say(view, "Hello");
    expect((await screen.findByRole("alert")).textContent).toBe("You sent 20 messages today.");
    expect(screen.getByRole("textbox")).toHaveProperty("value", "Hello");
  });

  it("waits while the server is away, and sends when it is back", async () => {
    const view = show({
      routes: {
        "POST /chats/c1/messages": {
          status: 201,
          body: sent(makeMessage({ id: "m9", content: "Patience" })),
        },
      },
    });
    await screen.findByText("Nothing said yet");
    view.server.goOffline();
    await say(view, "Patience");
    expect(await screen.findByText(/sent as soon as the server is back/)).toBeTruthy();
    view.server.goOffline(false);
    act(() => void dispatchEvent(new Event("online")));
    await waitFor(() => expect(screen.queryByText(/sent as soon/)).toBeNull());
    expect(view.server.bodies("POST /chats/c1/messages")).toHaveLength(1);
  });

  it("is refused to readers, and says so", async () => {
    show({ chat: { permissions: { can_read: true, can_write: false, can_share: false } } });
    expect(await screen.findByText(/You may read this chat/)).toBeTruthy();
    expect(screen.queryByRole("textbox")).toBeNull();
  });

  it("asks several models, and compares their replies", async () => {
    const reply = makeReply({ id: "a1", sibling_ids: ["a1", "a2"] });
    const other = makeReply({ id: "a2", sibling_ids: ["a1", "a2"], content: "Another answer" });
    const view = show({
      routes: {
        "POST /chats/c1/messages": {
          status: 201,
          body: sent(makeMessage({ id: "m9" }), reply, [{ reply: other, run: { id: "r2" } }]),
        },
        "GET /messages/a1": reply,
        "GET /messages/a2": other,
      },
    });
    await view.user.click(await screen.findByRole("button", { name: "Ask several models" }));
    await view.user.click(screen.getByRole("button", { name: "Ask these with the next message" }));
    expect(await screen.findByRole("button", { name: /2 models/ })).toBeTruthy();
    expect(screen.queryByText("Model choice")).toBeNull();
    await say(view, "Both");
    expect(await screen.findByRole("heading", { name: "Compare versions" })).toBeTruthy();
    expect(view.server.bodies("POST /chats/c1/messages")).toEqual([
      {
        content: "Both",
        models: [
          { provider: "a", model_name: "one" },
          { provider: "b", model_name: "two" },
        ],
      },
    ]);
  });

  it("edits the last own message with the up arrow", async () => {
    const view = show({ messages: [makeReply({ id: "m2" }), makeMessage({ id: "m1", content: "Mine" })] });
    await screen.findByText("Mine");
    await view.user.type(screen.getByRole("textbox", { name: "Write a message" }), "{ArrowUp}");
    expect(await screen.findByRole("textbox", { name: "Edit your message" })).toHaveProperty("value", "Mine");
  });

  it("stops the reply that is being written", async () => {
    const view = show({
      messages: [makeReply({ id: "m2", status: "streaming", run_id: "r7" })],
      routes: { "POST /runs/r7/cancel": { id: "r7" } },
    });
    await view.user.click(await screen.findByRole("button", { name: "Stop" }));
    await waitFor(() => expect(view.server.calls.some((call) => call.path === "/runs/r7/cancel")).toBe(true));
  });
});

describe("panels and dialogs", () => {
  it("show what the model is sent, with what the page adds", async () => {
    const view = show({
      routes: { "GET /chats/c1/context": problem(503, "storage_unavailable", "Try again in a moment.") },
    });
    await view.user.click(await screen.findByRole("button", { name: "What the model is sent" }));
    expect(await screen.findByText("State of the chat")).toBeTruthy();
    await view.user.click(screen.getByRole("button", { name: "Close what the model is sent" }));
    await waitFor(() => expect(screen.queryByText("State of the chat")).toBeNull());
  });

  it("show one panel at a time", async () => {
    const parent = makeReply({ id: "m1", reply_count: 1 });
    const view = show({
      messages: [parent],
      routes: {
        "GET /messages/m1": parent,
        "GET /chats/c1/context": problem(503, "storage_unavailable", "Try again in a moment."),
      },
    });
    await view.user.click(await screen.findByRole("button", { name: "1 reply" }));
    expect(await screen.findByRole("heading", { name: "Thread" })).toBeTruthy();
    await view.user.click(screen.getByRole("button", { name: "What the model is sent" }));
    await waitFor(() => expect(screen.queryByRole("heading", { name: "Thread" })).toBeNull());
  });

  it("draw the map of the chat", async () => {
    const end = {
      id: "m1",
      role: "user",
      excerpt: "Why does bread rise?",
      model_name: null,
      created_at: "2026-11-22T12:00:00Z",
    };
    const segments = [{ first: end, last: end, message_count: 3, follows: null }];
    const view = show({ routes: { "GET /chats/c1/tree": { segments } } });
    await view.user.click(await screen.findByRole("button", { name: "Map of the chat" }));
    expect((await screen.findByRole("list", { name: "Branches" })).textContent).toContain("3 messages");
  });

  it("change the settings of the chat", async () => {
    const view = show({ routes: { "PATCH /chats/c1": makeChat({ title: "Cake" }) } });
    await view.user.click(await screen.findByRole("button", { name: "Chat settings" }));
    await view.user.type(await screen.findByLabelText("Temperature"), "0.5");
    await view.user.click(screen.getByRole("button", { name: "Save" }));
    await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
    expect(view.server.bodies("PATCH /chats/c1")[0]).toMatchObject({ settings: { temperature: 0.5 } });
  });
});

describe("a channel", () => {
  const by = (id: string, name: string, content: string, fields: object = {}) =>
    makeMessage({ id, content, user: { id: name, name }, created_at: "2026-11-30T10:00:00Z", ...fields });
  const PRESENCE = { "PUT /chats/c1/presence": null };
  const slot = (lastReadId: string) => ({ lastReadId, markRead: vi.fn(), people: [] });

  it("shows who wrote what, from where it is new, and what is at the end is read", async () => {
    const channel = slot("a1");
    show({
      chat: { kind: "channel" },
      channel,
      routes: PRESENCE,
      messages: [by("a3", "Eva", "With **beans**"), by("a2", "me", "Mine"), by("a1", "Eva", "Old")],
    });
    const eva = await screen.findByText("beans", { selector: "strong" });
    const line = screen.getByText("New");
    expect(line.compareDocumentPosition(eva) & Node.DOCUMENT_POSITION_FOLLOWING).toBeTruthy();
    expect(
      screen.getByText("Mine").compareDocumentPosition(line) & Node.DOCUMENT_POSITION_FOLLOWING,
    ).toBeTruthy();
    await waitFor(() => expect(channel.markRead).toHaveBeenCalledWith("a3"));
    for (const name of ["Map of the chat", "What the model is sent", "Chat settings"])
      expect(screen.queryByRole("button", { name })).toBeNull();
  });

  it("is not read where an old message is looked at, nor in a hidden window", async () => {
    const messages = [by("a2", "Eva", "New one"), by("a1", "Eva", "Old one")];
    const routes = { ...PRESENCE, "GET /messages/a1": by("a1", "Eva", "Old one") };
    const searched = slot("a0");
    const { unmount } = show({
      chat: { kind: "channel" },
      channel: searched,
      messages,
      targetId: "a1",
      routes,
    });
    await screen.findByText("Old one");
    document.dispatchEvent(new Event("visibilitychange"));
    expect(searched.markRead).not.toHaveBeenCalled();
    unmount();
    const isHidden = vi.spyOn(document, "hidden", "get").mockReturnValue(true);
    const hidden = slot("a0");
    show({ chat: { kind: "channel" }, channel: hidden, messages, routes });
    await screen.findByText("New one");
    document.dispatchEvent(new Event("visibilitychange"));
    expect(hidden.markRead).not.toHaveBeenCalled();
    isHidden.mockReturnValue(false);
    document.dispatchEvent(new Event("visibilitychange"));
    expect(hidden.markRead).toHaveBeenCalledWith("a2");
    isHidden.mockRestore();
  });

  it("is read with the thread that is open, once all of the channel is read", async () => {
    const channel = slot("a1");
    const { user } = show({
      chat: { kind: "channel" },
      channel,
      messages: [by("a1", "Eva", "Question", { reply_count: 1 })],
      routes: {
        ...PRESENCE,
        "GET /messages/a1": by("a1", "Eva", "Question"),
        "GET /chats/c1/messages": ({ query }: Call) =>
          page(
            query.get("parent")
              ? [by("a2", "Eva", "In the thread", { parent_message_id: "a1", thread_level: 1 })]
              : [by("a1", "Eva", "Question", { reply_count: 1 })],
          ),
      },
    });
    await user.click(await screen.findByRole("button", { name: "1 reply" }));
    await screen.findByText("In the thread");
    const panel = screen.getByRole("region", { name: "Thread" });
    expect(within(panel).getAllByText("Eva")).toHaveLength(2); // also above the question
    await waitFor(() => expect(channel.markRead).toHaveBeenLastCalledWith("a2"));
  });
});
