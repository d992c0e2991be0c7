import { screen, waitFor, within } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import type { Schemas } from "@/api/client";
import { makeChat, makeMessage } from "@/test/factories";
import { chooseOption, renderApp } from "@/test/render";
import { type Call, fakeServer, page, problem } from "@/test/server";
import { ContextPanel } from "./context-panel";

type Context = Schemas["ContextRead"];
type Made = Schemas["ContextOptimizationRead"];

const item = (id: string, reason: Schemas["ContextItem"]["reason"], fields: object = {}) =>
  ({
    message_id: id,
    role: "user",
    excerpt: `Message ${id}`,
    reason,
    context_rule: "auto",
    tokens: 100,
    sent_tokens: 100,
    omitted: 0,
    files: [],
    ...fields,
  }) as Schemas["ContextItem"];

function makeContext(fields: Partial<Context> = {}): Context {
  return {
    window: 8192,
    reserve: 1024,
    used: 2000,
    system_tokens: 0,
    model_name: "gpt",
    forecast: {
      expected_cost: "0.01",
      low_cost: "0.01",
      high_cost: "0.01",
      most_cost: "0.4",
      answer_tokens: 300,
    },
    tools_left_out: 0,
    older: 0,
    applied: ["o1"],
    origins: [],
    items: [item("m1", "fits"), item("m2", "newest")],
    ...fields,
  } as Context;
}

function makeOptimization(fields: Partial<Made> = {}): Made {
  return {
    id: "o1",
    chat_id: "c1",
    optimization_type: "summarization",
    trigger_reason: "user_request",
    tokens_before: 5000,
    tokens_after: 500,
    summary: "They baked.",
    is_edited: false,
    is_superseded: false,
    note: null,
    cost: "0.02",
    saved_cost: "0.01",
    reverted_at: null,
    created_at: "2026-11-22T12:00:00Z",
    ...fields,
  } as Made;
}

type Options = {
  context?: Partial<Context>;
  made?: Made[];
  forecast?: object;
  canWrite?: boolean;
  routes?: object;
};

function open({
  context,
  made: compactions = [],
  forecast = { requests: 0 },
  canWrite = true,
  routes = {},
}: Options = {}) {
  let stored = compactions;
  const server = fakeServer({
    "GET /chats/c1": makeChat(),
    "GET /chats/c1/context": makeContext(context),
    "GET /chats/c1/context-optimizations": () => page(stored),
    "GET /chats/c1/context-optimizations/forecast": forecast,
    "POST /chats/c1/context-optimizations": ({ body }: Call) => {
      stored = [makeOptimization(body as Partial<Made>), ...stored];
      return stored[0];
    },
    "PATCH /chats/c1/context-optimizations/o1": ({ body }: Call) => {
      stored = stored.map((item) => ({ ...item, ...(body as Partial<Made>), is_edited: true }));
      return stored[0];
    },
    "DELETE /chats/c1/context-optimizations/o1": () => {
      stored = stored.map((item) => ({ ...item, reverted_at: item.created_at }));
      return null;
    },
    "DELETE /chats/c1/context-optimizations": () => {
      stored = stored.map((item) => ({ ...item, reverted_at: item.created_at }));
      return null;
    },
    "PATCH /messages/m1": ({ body }: Call) => makeMessage({ id: "m1", ...(body as object) }),
    ...routes,
  });
  const onShow = vi.fn();
  const panel = (
    <ContextPanel chatId="c1" canWrite={canWrite} onShow={onShow} onClose={vi.fn()}>
      <p>Before the messages</p>
    </ContextPanel>
  );
  return { server, onShow, ...renderApp(panel) };
}

const row = async (id: string) =>
  (await screen.findByText(`Message ${id}`, { exact: false })).closest("li") as HTMLElement;

describe("what the model is sent", () => {
  it("says how full the window is, and what the next reply costs", async () => {
    open({ context: { system_tokens: 300 } });
    const gauge = (await screen.findByText("2,000")).closest("p");
    expect(gauge?.textContent).toBe(
      "About 2,000 of 8,192 tokens, 300 of them instructions; 1,024 are kept for the answer.",
    );
    await screen.findByText("gpt · about $0.01 with an answer of 300 tokens, at most $0.40");
    screen.getByText("Before the messages");
  });

  it.each([
    ["an unknown cost", { forecast: null }, "gpt · its cost is unknown"],
    [
      "a chat without a model",
      { model_name: null, forecast: null },
      "No model is chosen · its cost is unknown",
    ],
    ["a chat without messages", { items: [] }, "Nothing has been said yet."],
    ["one older message", { older: 1 }, "One older message is left out."],
    ["many older messages", { older: 1000 }, "1,000 or more older messages are left out."],
    [
      "what has no room",
      { items: [item("m1", "newest", { tokens: 9000, sent_tokens: 3000, omitted: 24_500 })] },
      "3,000 of 9,000 tokens · 24,500 characters have no room",
    ],
    ["a tool without room", { tools_left_out: 1 }, "One tool is not offered"],
    ["tools without room", { tools_left_out: 3 }, "3 tools are not offered"],
  ])("tells of %s", async (_, context, words) => {
    open({ context });
    await screen.findByText(words, { exact: false });
  });

  it("says where instructions, the model, the tools and limits come from", async () => {
    const origin = (
      kind: Schemas["ContextOrigin"]["kind"],
      place: Schemas["ContextOrigin"]["place"],
      detail: string,
    ) => ({
      kind,
      place,
      detail,
      name: place === "project" ? "Garden" : null,
    });
    const { user } = open({
      context: {
        origins: [
          origin("instructions", "project", "Speak of gardens."),
          origin("model", "account", "gpt-4o"),
          origin("tools", "chat", "2"),
          origin("limit", "server", "$20.00 a month"),
          origin("limit", "project", ""),
        ],
      },
    });
    await user.click(await screen.findByText("Where it comes from"));
    expect(screen.getAllByRole("listitem").map((row) => row.textContent)).toEqual(
      expect.arrayContaining([
        "Instructions · Project GardenSpeak of gardens.",
        "Model · Your accountgpt-4o",
        "Tools · This chat2 tools",
        "Limit · This server$20.00 a month",
        "Limit · Project GardenSet by its owner",
      ]),
    );
  });

  it("lists the newest message first, with the reason for each", async () => {
    open({
      context: {
        items: [
          item("m1", "window", { sent_tokens: 0 }),
          item("m2", "shortened", { sent_tokens: 40 }),
          item("m3", "pinned"),
        ],
      },
    });
    const list = await screen.findByRole("list", { name: "Messages, the newest first" });
    expect(
      within(list)
        .getAllByRole("listitem")
        .map((item) => item.textContent),
    ).toEqual([
      "Person Message m3Pinned: it always goes · 100 tokens",
      "Person Message m2Goes, but not all of it · 40 of 100 tokens",
      "Person Message m1Left out: no room · 100 tokens",
    ]);
  });

  it("leads to a message", async () => {
    const { user, onShow } = open();
    await user.click(within(await row("m1")).getByTitle("Show it in the chat"));
    expect(onShow).toHaveBeenCalledWith("m1");
  });

  it.each([
    ["Always send it", "pinned", "auto"],
    ["Never send it", "left_out", "auto"],
    ["Send it as it fits", "auto", "pinned"],
    ["Send it again", "auto", "left_out"],
  ])("sets the rule of a message by “%s”", async (name, rule, before) => {
    const { server, user } = open({ context: { items: [item("m1", "fits", { context_rule: before })] } });
    await user.click(within(await row("m1")).getByRole("button", { name }));
    await waitFor(() => expect(server.bodies("PATCH /messages/m1")).toEqual([{ context_rule: rule }]));
  });

  it.each([
    [true, ["Summarise the older half", "Undo", "Always send it"]],
    [false, []],
  ])("offers changes only to a person who may write (%s)", async (canWrite, offered) => {
    open({ canWrite, made: [makeOptimization()], context: { items: [item("m1", "fits")] } });
    await row("m1");
    await screen.findByText("The oldest told by a summary");
    const names = ["Summarise the older half", "Undo", "Always send it"];
    expect(names.filter((name) => screen.queryByRole("button", { name }))).toEqual(offered);
  });

  it("offers to try again", async () => {
    const { server, user } = open({
      routes: {
        "GET /chats/c1/context": problem(503, "storage_unavailable", "The database does not answer."),
      },
    });
    await screen.findByText("The database does not answer.");
    server.set("GET /chats/c1/context", makeContext());
    await user.click(screen.getByRole("button", { name: "Try again" }));
    await row("m1");
  });
});

describe("compaction", () => {
  it.each([
    ["Summarise the older half", "summarization"],
    ["Take repetitions out", "compression"],
    ["Leave the older half out", "truncation"],
  ])("is asked for by “%s”", async (name, optimization_type) => {
    const { server, user } = open();
    await user.click(await screen.findByRole("button", { name }));
    await screen.findByRole("list", { name: "What was made shorter, the newest first" });
    expect(server.bodies("POST /chats/c1/context-optimizations")).toEqual([
      { optimization_type, leaf: null },
    ]);
  });

  it("says what a summary would cost before it is asked for", async () => {
    open({ forecast: { requests: 2, model_name: "gpt", input_tokens: 4000, cost: "0.03" } });
    await screen.findByText("A summary asks gpt 2 times and sends about 4,000 tokens: at most $0.03.");
  });

  it("says why it failed, and can be asked for again", async () => {
    const { user } = open({
      routes: {
        "POST /chats/c1/context-optimizations": problem(
          409,
          "nothing_to_compact",
          "There is nothing to leave out.",
        ),
      },
    });
    await user.click(await screen.findByRole("button", { name: "Leave the older half out" }));
    await screen.findByText("There is nothing to leave out.");
    expect(screen.getByRole<HTMLButtonElement>("button", { name: "Leave the older half out" }).disabled).toBe(
      false,
    );
  });

  it.each([
    ["When the window is full", "Tell the oldest by a summary", { when_full: "summarization" }],
    ["Begin with that", "At half", { compact_at: 0.5 }],
  ])("is set for later by “%s”", async (label, option, settings) => {
    const { server, user } = open({
      routes: { "PATCH /chats/c1": makeChat({ settings: settings as Schemas["SettingsRead"] }) },
    });
    await chooseOption(user, label, option);
    await waitFor(() => expect(server.bodies("PATCH /chats/c1")).toEqual([{ settings }]));
  });

  it("is undone one by one", async () => {
    const { user } = open({ made: [makeOptimization()] });
    await user.click(await screen.findByRole("button", { name: "Undo" }));
    await screen.findByText("It is undone. What fits is sent again.");
    await screen.findByText("One other was undone.");
  });

  it("is undone as a whole where there are several", async () => {
    const { server, user } = open({ made: [makeOptimization(), makeOptimization({ id: "o2" })] });
    await screen.findByText(/One more changes nothing here/);
    await user.click(screen.getByRole("button", { name: "Undo all, and send everything again" }));
    await screen.findByText("2 others were undone.");
    expect(server.bodies("DELETE /chats/c1/context-optimizations")).toHaveLength(1);
  });

  it("has a summary that can be changed", async () => {
    const { server, user } = open({ made: [makeOptimization()] });
    await user.click(await screen.findByRole("button", { name: "Change the words" }));
    const words = screen.getByLabelText<HTMLTextAreaElement>("The summary");
    expect(words.value).toBe("They baked.");
    await user.type(words, " Twice.");
    await user.click(screen.getByRole("button", { name: "Save the summary" }));
    await screen.findByText("The summary, as a person changed it");
    expect(server.bodies("PATCH /chats/c1/context-optimizations/o1")).toEqual([
      { summary: "They baked. Twice." },
    ]);
  });

  it("keeps changed words when they are refused", async () => {
    const { user } = open({
      made: [makeOptimization()],
      routes: { "PATCH /chats/c1/context-optimizations/o1": problem(422, "invalid", "It is too long.") },
    });
    await user.click(await screen.findByRole("button", { name: "Change the words" }));
    await user.type(screen.getByLabelText("The summary"), "!");
    await user.click(screen.getByRole("button", { name: "Save the summary" }));
    await screen.findByText("It is too long.");
    expect(screen.getByLabelText<HTMLTextAreaElement>("The summary").value).toBe("They baked.!");
  });

  it.each([
    ["that it is out of date", { is_superseded: true }, "A message that it tells of has changed."],
    ["what went wrong", { note: "The model did not answer." }, "The model did not answer."],
    ["what it saved", {}, "5,000 tokens became 500, as you wanted it"],
  ])("says %s", async (_, fields, words) => {
    open({ made: [makeOptimization(fields)] });
    await screen.findByText(words, { exact: false });
  });
});
