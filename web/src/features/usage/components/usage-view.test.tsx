import { screen, waitFor, within } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import type { Schemas } from "@/api/client";
import { chooseOption, renderApp } from "@/test/render";
import { type Call, fakeServer, problem } from "@/test/server";
import { UsageView } from "./usage-view";

type Group = Schemas["UsageGroup"];

function group(fields: Partial<Group> = {}): Group {
  return {
    day: null,
    provider: null,
    model_name: null,
    chat_id: null,
    chat_title: null,
    tool_name: null,
    token_id: null,
    token_name: null,
    user_id: null,
    username: null,
    replies: 2,
    requests: 2,
    thinking_tokens: 0,
    input_tokens: 100,
    output_tokens: 50,
    cached_tokens: 0,
    cache_write_tokens: 0,
    cache_savings: "0",
    total_tokens: 150,
    cost: "0.25",
    unknown_cost_replies: 0,
    estimated_replies: 0,
    ...fields,
  } as Group;
}

const TODAY = { count: 3, limit: null as number | null };

function report(items: Group[], total = group(), messages_today = TODAY) {
  return { items, total, messages_today };
}

type Options = {
  total?: Group;
  today?: typeof TODAY;
  models?: Group[];
  chats?: Group[];
  tools?: Group[];
  tokens?: Group[];
  projects?: Group[];
  isAdmin?: boolean;
  budget?: number;
};

function open({
  total,
  today,
  models,
  chats,
  tools,
  tokens,
  projects,
  isAdmin = false,
  budget,
}: Options = {}) {
  const groups: Record<string, Group[]> = {
    day: [group({ day: "2026-11-22" })],
    tool: tools ?? [],
    project: projects ?? [group()],
    token: tokens ?? [group()],
    user: [group({ user_id: "u1", username: "ana" })],
    "provider,model": models ?? [group({ provider: "openai", model_name: "gpt" })],
    chat: chats ?? [group({ chat_id: "c1", chat_title: "About bread" }), group()],
  };
  const server = fakeServer({
    "GET /usage": ({ query }: Call) => report(groups[query.get("group_by") ?? ""] ?? [], total, today),
  });
  const view = (
    <UsageView
      isAdmin={isAdmin}
      timeZone="Asia/Tokyo"
      monthlyBudget={budget}
      chatLink={(id, title) => <a href={`/c/${id}`}>{title}</a>}
      limitProject={(id, name) => <button type="button">{`Limit ${name} (${id})`}</button>}
    />
  );
  return { server, ...renderApp(view) };
}

const fact = async (name: string) =>
  (await screen.findByText(name, { selector: "dt" })).parentElement?.textContent;
const rows = (name: string) =>
  within(screen.getByRole("region", { name }))
    .getAllByRole("row")
    .slice(1)
    .map((row) => [...row.children].map((cell) => cell.textContent));

describe("the usage", () => {
  it("shows the sums of this month, beside those of the month before", async () => {
    const { server } = open();
    expect(await fact("Cost")).toContain("Cost$0.25");
    expect(await fact("Tokens in")).toBe("Tokens in100");
    expect(await fact("Messages today")).toBe("Messages today3");
    expect(await screen.findByText("as much as the same days of last month")).toBeTruthy();
    const [month, before] = server.calls.map((call) => call.query.get("since") ?? "");
    expect([month, before]).toEqual([expect.stringMatching(/-01$/), expect.stringMatching(/-01$/)]);
    expect((before ?? "") < (month ?? "")).toBe(true);
    expect(server.calls.map((call) => call.query.get("time_zone"))).toContain("Asia/Tokyo");
  });

  it("says what the month will cost, and whether the budget suffices", async () => {
    open({ budget: 0.01 });
    await screen.findByText(/At this pace, .* by the end of the month/);
  });

  it("counts thinking apart", async () => {
    open({ total: group({ output_tokens: 50, thinking_tokens: 40 }) });
    expect(await fact("Tokens out")).toBe("Tokens out5040 for thinking");
  });

  it("says for each model what came from a cache and what was thinking", async () => {
    open({
      models: [group({ provider: "openai", model_name: "o3", cached_tokens: 40, thinking_tokens: 20 })],
    });
    await screen.findByText("40 from a cache, 20 for thinking");
    expect(rows("By model")[0]?.[2]).toBe("15040 from a cache, 20 for thinking");
  });

  it("shows tools and API tokens only where there are any", async () => {
    open({
      tools: [group({ tool_name: "fetch_page" })],
      tokens: [group({ token_id: "t1", token_name: "script" }), group()],
    });
    await screen.findByRole("region", { name: "By tool" });
    await screen.findByRole("region", { name: "By API token" });
    expect(rows("By API token").map(([name]) => name)).toEqual(["script", "Without a token"]);
  });

  it("shows everybody to administrators, by person and without chats", async () => {
    const { server, user } = open({ isAdmin: true });
    await fact("Cost");
    await chooseOption(user, "Whose", "Everybody");
    await screen.findByRole("region", { name: "By person" });
    expect(screen.queryByRole("region", { name: "By chat" })).toBeNull();
    expect(server.calls.some((call) => call.query.get("of") === "everyone")).toBe(true);
  });

  it("shows the projects of others to administrators without their names, each with a way to limit it", async () => {
    const { user } = open({ isAdmin: true, projects: [group({ project_id: "01a2-89abcdef" }), group()] });
    await fact("Cost");
    expect(screen.queryByRole("button", { name: /^Limit/ })).toBeNull();
    await chooseOption(user, "Whose", "Everybody");
    await screen.findByRole("button", { name: "Limit Project 89abcdef (01a2-89abcdef)" });
    expect(rows("By project").map(([name]) => name)).toEqual([
      expect.stringMatching(/^Project 89abcdef/),
      "In no project",
    ]);
  });

  it("offers the sums as files", async () => {
    open();
    const link = await screen.findByRole("link", { name: "Download as CSV" });
    expect(link.getAttribute("href")).toMatch(/^\/api\/v1\/usage\/export\?.*format=csv/);
  });

  it("says which part of a sum is not known exactly", async () => {
    open({
      total: group({ unknown_cost_replies: 4, cached_tokens: 1200, estimated_replies: 1 }),
      today: { count: 3, limit: 10 },
    });
    expect(await fact("Cost")).toContain("and 4 of unknown cost");
    expect(await fact("Tokens in")).toContain("1,200 from a cache");
    expect(await fact("Replies")).toContain("1 cut off, estimated");
    expect(await fact("Messages today")).toContain("3 of 10");
  });

  it.each([
    ["0.31", "1,200 from a cache, which saved $0.31"],
    ["-0.05", "1,200 from a cache"],
  ])("says what the cache saved: %s", async (cache_savings, words) => {
    open({ total: group({ cached_tokens: 1200, cache_savings }) });
    expect(await fact("Tokens in")).toBe(`Tokens in100${words}`);
  });

  it("asks for another time when one is chosen", async () => {
    const { server, user } = open();
    await fact("Cost");
    await chooseOption(user, "Time", "Last 7 days");
    const days = (call: Call) =>
      (Date.parse(call.query.get("until") ?? "") - Date.parse(call.query.get("since") ?? "")) / 86_400_000;
    await waitFor(() => expect(server.calls.some((call) => Math.round(days(call)) === 7)).toBe(true));
  });

  it("lists each model, and says where the cost is unknown", async () => {
    open({
      models: [
        group({ provider: "openai", model_name: "gpt" }),
        group({ provider: "local", model_name: "small", unknown_cost_replies: 2, cost: "0" }),
        group({ provider: "x", model_name: "mixed", unknown_cost_replies: 1 }),
      ],
    });
    await screen.findByText("small · local");
    expect(rows("By model")).toEqual([
      ["gpt · openai", "2", "150", "$0.25"],
      ["small · local", "2", "150", "unknown"],
      ["mixed · x", "2", "150", "$0.25and 1 of unknown cost"],
    ]);
  });

  it("links the chats that still exist", async () => {
    open();
    const link = await screen.findByRole("link", { name: "About bread" });
    expect(link.getAttribute("href")).toBe("/c/c1");
    expect(rows("By chat")[1]?.[0]).toBe("Chats that are deleted");
  });

  it("says how many rows are not shown", async () => {
    const chats = Array.from({ length: 52 }, (_, n) => group({ chat_id: `c${n}`, chat_title: `Chat ${n}` }));
    open({ chats });
    await screen.findByText("and 2 more");
    expect(rows("By chat")).toHaveLength(50);
  });

  it("explains itself before the first reply", async () => {
    open({ total: group({ replies: 0, requests: 0 }) });
    await screen.findByRole("heading", { name: "Nothing used in this time" });
    expect(screen.queryByRole("region", { name: "By model" })).toBeNull();
  });

  it("offers to try again when the sums cannot be loaded", async () => {
    const server = fakeServer({
      "GET /usage": problem(503, "storage_unavailable", "The database does not answer."),
    });
    const { user } = renderApp(<UsageView isAdmin={false} timeZone="UTC" chatLink={() => null} />);
    await screen.findByText("The database does not answer.");
    server.set("GET /usage", report([]));
    await user.click(screen.getByRole("button", { name: "Try again" }));
    expect(await fact("Cost")).toContain("Cost$0.25");
  });
});
