import { screen, waitFor, within } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { makeCall } from "@/test/factories";
import { chooseOption, renderApp } from "@/test/render";
import { type Call, fakeServer, page, problem } from "@/test/server";
import { ToolHistory } from "./tool-history";

const USAGE = [
  {
    tool_name: "calculate",
    server: null,
    calls: 3,
    completed: 2,
    failed: 1,
    denied: 0,
    average_ms: 12,
    longest_ms: 1500,
    cost: "0",
  },
  {
    tool_name: "search",
    server: "issues",
    calls: 1,
    completed: 0,
    failed: 0,
    denied: 1,
    average_ms: null,
    longest_ms: null,
    cost: "0.5",
  },
];
const done = (id: string, title: string) => ({ ...makeCall({ id, status: "completed" }), chat_title: title });

function open(chatId?: string, routes: object = {}) {
  const server = fakeServer({
    "GET /tools/usage": page(USAGE),
    "GET /tool-executions": ({ query }: Call) =>
      query.get("cursor") ? page([done("t2", "Second")]) : page([done("t1", "First")], "next"),
    ...routes,
  });
  const view = renderApp(
    <ToolHistory
      meId="me"
      chatId={chatId}
      chatLink={(id, title) => <a href={`/c/${id}`}>{title}</a>}
      everywhere={<p>All chats</p>}
    />,
  );
  const queries = () =>
    server.calls.filter((call) => call.path === "/tool-executions").map((call) => call.query);
  return { server, asked: queries, ...view };
}

describe("the history of tools", () => {
  it("sums up each tool", async () => {
    open();
    const sums = await screen.findByRole("region", { name: "Sums by tool" });
    const rows = within(sums).getAllByRole("row").slice(1);
    expect(rows.map((row) => [...row.children].map((cell) => cell.textContent))).toEqual([
      ["calculate", "3", "2", "1", "0", "12 ms", "1.5 s", "$0.00"],
      ["search from issues", "1", "0", "0", "1", "–", "–", "$0.50"],
    ]);
  });

  it("lists the calls with their chats, and older ones on request", async () => {
    const { user } = open();
    await user.click(await screen.findByRole("button", { name: /^calculate Done/ }));
    expect(screen.getByRole("link", { name: "First" }).getAttribute("href")).toBe("/c/c1");
    await user.click(screen.getByRole("button", { name: "Show older calls" }));
    await waitFor(() => expect(screen.getAllByRole("article")).toHaveLength(2));
    expect(screen.queryByRole("button", { name: "Show older calls" })).toBeNull();
  });

  it("shows the calls of one tool", async () => {
    const { user, asked: queries } = open();
    await screen.findByRole("article");
    await chooseOption(user, "Show calls of", "issues/search");
    await waitFor(() => expect(queries().at(-1)?.get("tool")).toBe("issues/search"));
  });

  it("stays within one chat, and leads to all", async () => {
    const { server, asked: queries } = open("c1");
    await screen.findByRole("heading", { name: "Every call of this chat" });
    screen.getByText("All chats");
    expect(queries()[0]?.get("chat_id")).toBe("c1");
    expect(server.calls.find((call) => call.path === "/tools/usage")?.query.get("chat_id")).toBe("c1");
  });

  it.each([
    [undefined, "No model has called a tool for you yet."],
    ["c1", "No model has called a tool for you in this chat."],
  ])("says that there are none (chat %s)", async (chatId, words) => {
    open(chatId, { "GET /tools/usage": page([]), "GET /tool-executions": page([]) });
    await screen.findByText(words, { exact: false });
  });

  it("offers to try again", async () => {
    const { server, user } = open(undefined, {
      "GET /tools/usage": problem(503, "storage_unavailable", "The database does not answer."),
    });
    await screen.findByText("The database does not answer.");
    server.set("GET /tools/usage", page(USAGE));
    await user.click(screen.getByRole("button", { name: "Try again" }));
    await screen.findByRole("region", { name: "Sums by tool" });
  });
});
