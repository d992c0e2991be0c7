import { screen, waitFor, within } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { renderApp } from "@/test/render";
import { type Call, fakeServer, problem } from "@/test/server";
import { ToolRules } from "./tool-rules";

const RULES = {
  read_only_operations: false,
  low_risk_operations: false,
  require_approval_for_new_tools: true,
  max_cost_per_tool: "0.500000",
  max_cost_per_hour: "10.000000",
  specific_tools: { fetch_page: [{ rule: "ask" }] } as Record<string, object[]>,
  spent_this_hour: "0.250000",
  updated_at: null,
};
const TOOLS = ["calculate", "fetch_page"].map((key) => ({ key, name: key, description: key }));
const PUT = "PUT /auto-approval-settings";

/** A server that stores what is put, as the real one does. */
function open(stored: typeof RULES = RULES) {
  let rules = stored;
  const server = fakeServer({
    "GET /auto-approval-settings": () => rules,
    "GET /tools": { items: TOOLS, next_cursor: null },
    [PUT]: (call: Call) => {
      rules = { ...rules, ...(call.body as object) };
      return rules;
    },
  });
  return { server, ...renderApp(<ToolRules />) };
}

const isChecked = (name: string) => screen.getByRole("checkbox", { name }).getAttribute("aria-checked");

describe("the rules of the account", () => {
  it("saves a switch together with all other rules, without what only the server knows", async () => {
    const { server, user } = open();
    await user.click(await screen.findByRole("checkbox", { name: "Run read-only tools automatically" }));
    await waitFor(() => expect(server.bodies(PUT)).toHaveLength(1));
    const { spent_this_hour, updated_at, ...kept } = RULES;
    expect(server.bodies(PUT)[0]).toEqual({ ...kept, read_only_operations: true });
    await waitFor(() => expect(isChecked("Run read-only tools automatically")).toBe("true"));
  });

  it("keeps two changes that follow one another", async () => {
    const { server, user } = open();
    await user.click(await screen.findByRole("checkbox", { name: "Run read-only tools automatically" }));
    await waitFor(() => expect(server.bodies(PUT)).toHaveLength(1));
    await user.click(screen.getByRole("checkbox", { name: "Run low-risk tools automatically" }));
    await waitFor(() => expect(server.bodies(PUT)).toHaveLength(2));
    expect(server.bodies(PUT)[1]).toMatchObject({ read_only_operations: true, low_risk_operations: true });
  });

  it("shows the limits without trailing zeros and saves what is typed", async () => {
    const { server, user } = open();
    const limit = await screen.findByRole<HTMLInputElement>("spinbutton", { name: "One call at most" });
    expect(limit.value).toBe("0.5");
    await user.clear(limit);
    await user.type(limit, "0.25");
    await user.click(screen.getByRole("button", { name: "Save the limits" }));
    await waitFor(() => expect(server.bodies(PUT)).toHaveLength(1));
    expect(server.bodies(PUT)[0]).toMatchObject({ max_cost_per_tool: "0.25", max_cost_per_hour: "10" });
  });

  it("says why a change was refused and leaves the switch as it is stored", async () => {
    const { server, user } = open();
    server.set(PUT, problem(422, "invalid", "There are too many rules. Remove one first."));
    await user.click(await screen.findByRole("checkbox", { name: "Run low-risk tools automatically" }));
    await screen.findByText("There are too many rules. Remove one first.");
    expect(isChecked("Run low-risk tools automatically")).toBe("false");
  });

  it("offers to try again when the rules cannot be loaded", async () => {
    const server = fakeServer({
      "GET /auto-approval-settings": problem(503, "storage_unavailable", "The database does not answer."),
      "GET /tools": { items: [], next_cursor: null },
    });
    const { user } = renderApp(<ToolRules />);
    await screen.findByText("The database does not answer.");
    server.set("GET /auto-approval-settings", RULES);
    await user.click(screen.getByRole("button", { name: /again/i }));
    await screen.findByRole("heading", { name: "Runs automatically" });
  });
});

describe("rules for single tools", () => {
  it("puts a rule for some arguments before the rules for all", async () => {
    const { server, user } = open({ ...RULES, specific_tools: { calculate: [{ rule: "never" }] } });
    await user.type(await screen.findByRole("textbox", { name: "Only if the argument" }), " url ");
    await user.type(screen.getByRole("textbox", { name: "is like" }), "https://example.org/*");
    await user.click(screen.getByRole("button", { name: "Add the rule" }));
    await waitFor(() => expect(server.bodies(PUT)).toHaveLength(1));
    expect(server.bodies(PUT)[0]).toMatchObject({
      specific_tools: {
        calculate: [{ rule: "ask", arguments: { url: "https://example.org/*" } }, { rule: "never" }],
      },
    });
    expect(screen.getByRole<HTMLInputElement>("textbox", { name: "Only if the argument" }).value).toBe("");
  });

  it("removes the last rule of a tool together with its entry", async () => {
    const { server, user } = open();
    const rule = (await screen.findByText("fetch_page", { selector: "p" })).closest("li") as HTMLElement;
    await user.click(within(rule).getByRole("button", { name: "Take away the rule for fetch_page" }));
    await waitFor(() => expect(server.bodies(PUT)).toHaveLength(1));
    expect((server.bodies(PUT)[0] as typeof RULES).specific_tools).toEqual({});
  });
});
