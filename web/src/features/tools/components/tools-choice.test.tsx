import { screen, waitFor, within } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import { chooseOption, renderApp } from "@/test/render";
import { type Call, fakeServer, page, problem } from "@/test/server";
import { ToolsChoice } from "./tools-choice";

const tool = (key: string, server: string | null = null, risk = "read_only") => ({
  key,
  name: key.split("/").at(-1),
  server,
  risk,
  description: `About ${key}.`,
  parameters: {},
  changed: null,
});
const TOOLS = [
  tool("calculate"),
  tool("issues/search", "issues", "high"),
  tool("issues/create", "issues", "high"),
];
const RULES = {
  read_only_operations: null as boolean | null,
  low_risk_operations: null as boolean | null,
  require_approval_for_new_tools: null as boolean | null,
  max_cost_per_tool: null as string | null,
  specific_tools: {},
};
const PUT = "PUT /chats/c1/auto-approval";

type Options = {
  chosen?: string[];
  takesTools?: boolean | null;
  onChoose?: () => Promise<unknown>;
  routes?: object;
};

/** Open the dialog of a chat's tools. */
async function open({ chosen = [], takesTools = true, onChoose, routes = {} }: Options = {}) {
  let rules = RULES;
  const server = fakeServer({
    "GET /tools": page(TOOLS),
    "GET /chats/c1/auto-approval": () => rules,
    [PUT]: ({ body }: Call) => {
      rules = body as typeof RULES;
      return rules;
    },
    ...routes,
  });
  const choose = vi.fn(onChoose ?? (() => Promise.resolve()));
  const view = renderApp(
    <ToolsChoice chatId="c1" modelTakesTools={takesTools} chosen={chosen} onChoose={choose} />,
  );
  await view.user.click(await screen.findByRole("button", { name: /^Tools/ }));
  await screen.findByRole("dialog", { name: "Tools of this chat" });
  return { server, choose, ...view };
}

const isOn = (name: string) => screen.getByRole("checkbox", { name }).getAttribute("aria-checked") === "true";

describe("the tools of a chat", () => {
  it("lists the built-in tools first, then each server's, with their risk", async () => {
    await open({ chosen: ["calculate"] });
    const sections = (await screen.findAllByRole("region", { name: /^Tools/ })).map((item) =>
      item.getAttribute("aria-label"),
    );
    expect(sections).toEqual(["Tools", "Tools of issues"]);
    expect([isOn("calculate"), isOn("search")]).toEqual([true, false]);
    expect(screen.getAllByText("High risk")).toHaveLength(2);
  });

  it("offers and removes a tool", async () => {
    const { user, choose } = await open({ chosen: ["calculate"] });
    await user.click(await screen.findByRole("checkbox", { name: "search" }));
    expect(choose).toHaveBeenLastCalledWith(["calculate", "issues/search"]);
    await user.click(screen.getByRole("checkbox", { name: "calculate" }));
    expect(choose).toHaveBeenLastCalledWith(["issues/search"]);
  });

  it("offers all tools of a server at once, and none again", async () => {
    const { user, choose } = await open({ chosen: ["calculate"] });
    await user.click(await screen.findByRole("button", { name: "All of them" }));
    expect(choose).toHaveBeenLastCalledWith(["calculate", "issues/search", "issues/create"]);
    await user.click(screen.getByRole("button", { name: "None of them" }));
    expect(choose).toHaveBeenLastCalledWith(["calculate"]);
  });

  it("takes a change back when it is refused, and says why", async () => {
    const { user } = await open({ onChoose: () => Promise.reject(new Error("no")) });
    await user.click(await screen.findByRole("checkbox", { name: "calculate" }));
    await screen.findByRole("alert");
    expect(isOn("calculate")).toBe(false);
  });

  it.each([
    [false, true],
    [true, false],
    [null, false],
  ])("warns only when the model is known to call no tools (%s)", async (takesTools, isWarned) => {
    await open({ takesTools });
    await screen.findByRole("checkbox", { name: "calculate" });
    expect(screen.queryByText(/not known to call tools/) !== null).toBe(isWarned);
  });

  it("leads to every call of the chat", async () => {
    await open();
    expect(screen.getByRole("link", { name: "Every call of this chat" }).getAttribute("href")).toBe(
      "/settings/tools?chat=c1",
    );
  });
});

describe("the rules of a chat", () => {
  it.each([
    ["Tools that only read", "Run automatically here", { read_only_operations: true }],
    ["Tools of low risk", "Ask here", { low_risk_operations: false }],
    ["Tools not approved before", "Ask here", { require_approval_for_new_tools: true }],
    ["Tools not approved before", "As others here", { require_approval_for_new_tools: false }],
  ])("sets “%s” to “%s”", async (label, option, change) => {
    const { server, user } = await open();
    await chooseOption(user, label, option);
    await waitFor(() => expect(server.bodies(PUT)).toEqual([{ ...RULES, ...change }]));
  });

  it("sets and removes a limit of its own", async () => {
    const { server, user } = await open();
    const rules = await screen.findByRole("region", { name: "Rules of this chat" });
    await user.type(within(rules).getByRole("spinbutton"), "0.25");
    await user.click(within(rules).getByRole("button", { name: "Save the limit" }));
    await waitFor(() => expect(server.bodies(PUT)[0]).toMatchObject({ max_cost_per_tool: "0.25" }));
    await user.clear(await within(rules).findByRole("spinbutton"));
    await user.click(within(rules).getByRole("button", { name: "Save the limit" }));
    await waitFor(() => expect(server.bodies(PUT)[1]).toMatchObject({ max_cost_per_tool: null }));
  });

  it("says why a rule was refused", async () => {
    const { user } = await open({ routes: { [PUT]: problem(422, "invalid", "It can only be lower here.") } });
    const rules = await screen.findByRole("region", { name: "Rules of this chat" });
    await user.type(within(rules).getByRole("spinbutton"), "99");
    await user.click(within(rules).getByRole("button", { name: "Save the limit" }));
    await screen.findByText("It can only be lower here.");
    expect(within(rules).getByRole<HTMLInputElement>("spinbutton").value).toBe("99");
  });
});
