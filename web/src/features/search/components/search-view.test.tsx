import { screen, waitFor } from "@testing-library/react";
import { type ComponentProps, useState } from "react";
import { describe, expect, it, vi } from "vitest";
import type { Schemas } from "@/api/client";
import { chooseOption, renderApp } from "@/test/render";
import { fakeServer, page, problem } from "@/test/server";
import { SearchView } from "./search-view";

const CHAT = { id: "c1", title: "About bread", is_archived: false };
const HIT = {
  chat: CHAT,
  message: { id: "m1", role: "user", created_at: "2026-11-22T12:00:00Z" },
  attachment: null,
  draft: null,
  by: "words",
  snippet: [
    { text: "Why does ", is_hit: false },
    { text: "bread", is_hit: true },
    { text: " rise?", is_hit: false },
  ],
} as unknown as Schemas["SearchHit"];

type Options = { typed?: string; chat?: { id: string; title: string }; answers?: object };

type PageProps = Pick<ComponentProps<typeof SearchView>, "typed" | "chat" | "onLeaveChat">;

/** The view with its text in a state, as the page keeps it in the address. */
function Page({ typed, ...rest }: PageProps) {
  const [text, setText] = useState(typed);
  return <SearchView typed={text} onType={setText} {...rest} />;
}

function open({ typed = "", chat, answers = {} }: Options = {}) {
  const server = fakeServer({
    "GET /search": page([HIT]),
    "GET /search/meaning": { phase: "ready", progress: 1 },
    ...answers,
  });
  const onLeaveChat = vi.fn();
  const queries = () => server.calls.filter((call) => call.path === "/search").map((call) => call.query);
  return {
    server,
    onLeaveChat,
    queries,
    ...renderApp(<Page typed={typed} chat={chat} onLeaveChat={onLeaveChat} />),
  };
}

const box = () => screen.findByRole<HTMLInputElement>("searchbox");

describe("the search", () => {
  it("asks for nothing and explains itself until something is typed", async () => {
    const { queries } = open();
    await screen.findByText("has:code");
    expect(document.activeElement).toBe(await box());
    expect(queries()).toEqual([]);
  });

  it("asks once typing pauses, and marks the words that were found", async () => {
    const { user, queries } = open();
    await user.type(await box(), "bread");
    const mark = await screen.findByText("bread", { selector: "mark" });
    expect(mark.closest("a")?.getAttribute("href")).toBe("/c/c1?m=m1");
    expect(queries().map((query) => query.get("q"))).toEqual(["bread"]);
    expect(screen.getByRole("status").textContent).toBe("1 found.");
  });

  it("says that nothing was found, and for which words", async () => {
    open({ typed: "zebra", answers: { "GET /search": page([]) } });
    await screen.findByText("Nothing was found for “zebra”.");
  });

  it("sends what was chosen beside the words", async () => {
    const { user, queries } = open({ typed: "bread" });
    await screen.findByText("bread", { selector: "mark" });
    await chooseOption(user, "Who said it", "By models");
    await chooseOption(user, "Order", "Newest first");
    await chooseOption(user, "What it has", "With code");
    await chooseOption(user, "When", "In the last week");
    await waitFor(() => expect(queries().at(-1)?.get("since")).toBeTruthy());
    const last = queries().at(-1);
    expect([last?.get("q"), last?.get("role"), last?.get("order")]).toEqual([
      "bread has:code",
      "assistant",
      "newest",
    ]);
    const days = (Date.now() - Date.parse(last?.get("since") ?? "")) / 86_400_000;
    expect(days).toBeGreaterThanOrEqual(7);
    expect(days).toBeLessThan(8.1);
  });

  it("looks in one chat until that is taken away", async () => {
    const { user, queries, onLeaveChat } = open({ typed: "bread", chat: { id: "c1", title: "About bread" } });
    await screen.findByText("bread", { selector: "mark" });
    expect(queries()[0]?.get("chat_id")).toBe("c1");
    await user.click(screen.getByRole("button", { name: /In About bread/ }));
    expect(onLeaveChat).toHaveBeenCalledOnce();
  });

  it("loads the next page on request", async () => {
    const second = {
      ...HIT,
      message: { ...HIT.message, id: "m2" },
      snippet: [{ text: "Rye", is_hit: false }],
    };
    const { user } = open({
      typed: "bread",
      answers: {
        "GET /search": ({ query }: { query: URLSearchParams }) =>
          query.get("cursor") === "next" ? page([second]) : page([HIT], "next"),
      },
    });
    await user.click(await screen.findByRole("button", { name: "Show more" }));
    await screen.findByText("Rye");
    expect(screen.getAllByRole("listitem")).toHaveLength(2);
    expect(screen.queryByRole("button", { name: "Show more" })).toBeNull();
  });

  it("keeps the words when the server fails, and tries again", async () => {
    const { server, user } = open({
      typed: "bread",
      answers: { "GET /search": problem(503, "storage_unavailable", "The database does not answer.") },
    });
    await screen.findByText("The database does not answer.");
    expect((await box()).value).toBe("bread");
    server.set("GET /search", page([HIT]));
    await user.click(screen.getByRole("button", { name: "Try again" }));
    await screen.findByText("bread", { selector: "mark" });
  });
});

describe("what was found", () => {
  it.each([
    ["a draft", { draft: { id: "d1", title: "Letter" }, message: null }, "/d/d1", "A draft"],
    ["a draft without a title", { draft: { id: "d1", title: "" }, message: null }, "/d/d1", "Untitled"],
    ["a file", { attachment: { id: "f1", file_name: "flour.pdf" } }, "/c/c1?m=m1", "flour.pdf"],
    ["a title", { message: null }, "/c/c1", "The title of a chat"],
    ["an archived chat", { chat: { ...CHAT, is_archived: true } }, "/c/c1?m=m1", "A person · archived"],
    ["a similar meaning", { by: "meaning" }, "/c/c1?m=m1", "A person · means something alike"],
  ])("leads to %s", async (_, fields, address, words) => {
    open({ typed: "x", answers: { "GET /search": page([{ ...HIT, ...fields }]) } });
    const link = await screen.findByRole("link");
    expect(link.getAttribute("href")).toBe(address);
    expect(link.textContent).toContain(words);
  });

  it("says how much of the index by meaning is built", async () => {
    open({ answers: { "GET /search/meaning": { phase: "building", progress: 0.427 } } });
    await screen.findByText(/42 %/);
  });
});
