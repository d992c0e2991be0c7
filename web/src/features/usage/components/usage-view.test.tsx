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
    replies: 2,
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

type Options = { total?: Group; today?: typeof TODAY; models?: Group[]; chats?: Group[] };

function open({ total, today, models, chats }: Options = {}) {
  const groups: Record<string, Group[]> = {
    day: [group({ day: "2026-11-22" })],
    "provider,model": models ?? [group({ provider: "openai", model_name: "gpt" })],
    chat: chats ?? [group({ chat_id: "c1", chat_title: "About bread" }), group()],
  };
  const server = fakeServer({
    "GET /usage": ({ query }: Call) => report(groups[query.get("group_by") ?? ""] ?? [], total, today),
  });
  return { server, ...renderApp(<UsageView chatLink={(id, title) => <a href={`/c/${id}`}>{title}</a>} />) };
}

const fact = async (name: string) =>
  (await screen.findByText(name, { selector: "dt" })).parentElement?.textContent;
const rows = (name: string) =>
  within(screen.getByRole("region", { name }))
    .getAllByRole("row")
    .slice(1)
    .map((row) => [...row.children].map((cell) => cell.textContent));

describe("the usage", () => {
  it("shows the sums of the last thirty days", async () => {
    const { server } = open();
    expect(await fact("Cost")).toBe("Cost$0.25");
    expect(await fact("Tokens in")).toBe("Tokens in100");
    expect(await fact("Messages today")).toBe("Messages today3");
    const since = Date.parse(server.calls[0]?.query.get("since") ?? "");
    expect(Math.round((Date.now() - since) / 86_400_000)).toBeGreaterThanOrEqual(29);
    expect(server.calls.map((call) => call.query.get("group_by"))).toEqual(["day", "provider,model", "chat"]);
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
    await waitFor(() => expect(server.calls).toHaveLength(6));
    const [long, short] = [server.calls[0], server.calls[3]].map((call) =>
      Date.parse(call?.query.get("since") ?? ""),
    );
    expect(Math.round(((short ?? 0) - (long ?? 0)) / 86_400_000)).toBe(23);
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
    open({ total: group({ replies: 0 }) });
    await screen.findByRole("heading", { name: "Nothing used in this time" });
    expect(screen.queryByRole("region", { name: "By model" })).toBeNull();
  });

  it("offers to try again when the sums cannot be loaded", async () => {
    const server = fakeServer({
      "GET /usage": problem(503, "storage_unavailable", "The database does not answer."),
    });
    const { user } = renderApp(<UsageView chatLink={() => null} />);
    await screen.findByText("The database does not answer.");
    server.set("GET /usage", report([]));
    await user.click(screen.getByRole("button", { name: "Try again" }));
    expect(await fact("Cost")).toBe("Cost$0.25");
  });
});
