import { screen, waitFor, within } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import type { Schemas } from "@/api/client";
import { chooseEntry, renderApp } from "@/test/render";
import { type Call, fakeServer, page, problem } from "@/test/server";
import { ToolServers } from "./tool-servers";

type Server = Schemas["ToolServerRead"];
const TOOL = {
  name: "search",
  description: "Searches.",
  parameters: {},
  hints: { read_only: true },
  changed: null,
};

function makeServer(fields: Partial<Server> = {}): Server {
  return {
    id: "s1",
    name: "issues",
    url: "https://mcp.example.org/mcp",
    environment: "prod",
    is_active: true,
    requires_sign_in: false,
    sign_in: null,
    header_names: [],
    cost_per_call: "0",
    listed_at: null,
    last_error: null,
    definitions_digest: "d1",
    tools: [TOOL],
    ...fields,
  } as unknown as Server;
}

/** A server that stores the MCP servers of one person. */
function open(stored: Server[] = [makeServer()], routes: object = {}) {
  let servers = stored;
  const server = fakeServer({
    "GET /tool-servers": () => page(servers),
    "POST /tool-servers": ({ body }: Call) => {
      servers = [...servers, makeServer({ ...(body as Server), id: "s9" })];
      return servers.at(-1);
    },
    "PATCH /tool-servers/s1": ({ body }: Call) => {
      servers = servers.map((item) => ({ ...item, ...(body as Server) }));
      return servers[0];
    },
    "POST /tool-servers/s1/refresh": () => {
      servers = servers.map((item) => ({
        ...item,
        tools: [...item.tools, { ...item.tools[0], name: "create" } as never],
      }));
      return servers[0];
    },
    "DELETE /tool-servers/s1": () => {
      servers = [];
      return null;
    },
    "DELETE /tool-servers/s1/sign-in": () => {
      servers = servers.map((item) => ({ ...item, sign_in: null }));
      return servers[0];
    },
    ...routes,
  });
  return { server, ...renderApp(<ToolServers />) };
}

const SIGN_IN = {
  issuer: "https://login.example.org/",
  expires_at: null,
  is_renewed: true,
} as Server["sign_in"];

describe("the servers of tools", () => {
  it("explains itself while there are none", async () => {
    open([]);
    await screen.findByText(/None yet/);
  });

  it.each([
    ["where it is", {}, "https://mcp.example.org/mcp"],
    ["that it is a test account", { environment: "test" }, "Test account"],
    ["that it is set aside", { is_active: false }, "Put aside"],
    ["who signs in", { sign_in: SIGN_IN }, "signed in at login.example.org"],
    ["which headers it gets", { header_names: ["Authorization"] }, "sends Authorization"],
    ["what a call costs", { cost_per_call: "0.5" }, "$0.50 a call"],
    ["its last error", { last_error: "It does not answer." }, "It does not answer."],
    [
      "that its tools changed",
      { tools: [{ ...TOOL, changed: { ...TOOL, description: "Deletes." } }] as never },
      "1 tool changed",
    ],
  ] as const)("shows %s", async (_, fields, words) => {
    open([makeServer(fields as Partial<Server>)]);
    expect((await screen.findByRole("listitem")).textContent).toContain(words);
  });

  it("offers no change of a server that the operator set up", async () => {
    open([makeServer({ id: null })]);
    await screen.findByText("For everybody");
    expect(screen.queryByRole("button", { name: "What to do with issues" })).toBeNull();
  });

  it("lists its tools on request", async () => {
    const { user } = open();
    await user.click(await screen.findByRole("button", { name: "1 tool" }));
    const tools = screen.getByRole("list", { name: "Tools of issues" });
    expect(tools.textContent).toBe("searchsays that it only readsSearches.");
    await user.click(screen.getByRole("button", { name: "1 tool" }));
    expect(screen.queryByRole("list", { name: "Tools of issues" })).toBeNull();
  });

  it("shows both descriptions of a changed tool and accepts exactly what is shown", async () => {
    const changed = { ...TOOL, description: "Deletes." };
    const { server, user } = open([makeServer({ tools: [{ ...TOOL, changed }] as never })]);
    await user.click(await screen.findByRole("button", { name: "1 tool" }));
    const tools = screen.getByRole("list", { name: "Tools of issues" });
    expect(tools.textContent).toContain("Until nowSearches.Its server says nowDeletes.");
    await user.click(screen.getByRole("button", { name: "Accept what changed" }));
    await waitFor(() => expect(server.bodies("PATCH /tool-servers/s1")).toEqual([{ accept_changes: "d1" }]));
  });

  it("fetches the list again", async () => {
    const { user } = open();
    await user.click(await screen.findByRole("button", { name: "Look again" }));
    await screen.findByRole("button", { name: "2 tools" });
  });

  it("says why a server did not answer", async () => {
    const { user } = open([makeServer()], {
      "POST /tool-servers/s1/refresh": problem(502, "unreachable", "issues does not answer."),
    });
    await user.click(await screen.findByRole("button", { name: "Look again" }));
    await screen.findByText("issues does not answer.");
  });

  it("sets one aside, uses it again, and removes it", async () => {
    const { server, user } = open();
    await chooseEntry(user, "What to do with issues", "Put aside");
    await screen.findByText("Put aside", { selector: "span" });
    await chooseEntry(user, "What to do with issues", "Use again");
    await waitFor(() => expect(screen.queryByText("Put aside", { selector: "span" })).toBeNull());
    expect(server.bodies("PATCH /tool-servers/s1")).toEqual([{ is_active: false }, { is_active: true }]);
    await chooseEntry(user, "What to do with issues", "Remove");
    await screen.findByText(/issues is removed/);
    await screen.findByText(/None yet/);
  });

  it("signs out", async () => {
    const { user } = open([makeServer({ sign_in: SIGN_IN })]);
    await chooseEntry(user, "What to do with issues", "Sign out");
    await screen.findByText(/You are signed out of issues/);
    await waitFor(() => expect(screen.queryByText(/signed in at/)).toBeNull());
  });
});

describe("the form of a server", () => {
  async function add(user: ReturnType<typeof open>["user"]) {
    await user.click(await screen.findByRole("button", { name: "Add a server" }));
    const dialog = await screen.findByRole("dialog", { name: "Add a server" });
    await user.type(within(dialog).getByLabelText("Name"), " docs ");
    await user.type(within(dialog).getByLabelText("Address"), "https://docs.example.org/mcp");
    return dialog;
  }

  it("adds a server with its headers, its cost and its account", async () => {
    const { server, user } = open([]);
    const dialog = await add(user);
    await user.click(within(dialog).getByRole("button", { name: "Add a header" }));
    expect(within(dialog).getByLabelText<HTMLInputElement>("Header").value).toBe("Authorization");
    await user.type(within(dialog).getByLabelText("Value"), "Bearer secret");
    await user.click(within(dialog).getByRole("button", { name: "Add a header" }));
    await user.type(within(dialog).getByLabelText("What a call costs you"), "0.02");
    await user.click(within(dialog).getByRole("checkbox", { name: "An account to try things with" }));
    await user.click(within(dialog).getByRole("button", { name: "Add" }));
    await screen.findByText("docs");
    expect(server.bodies("POST /tool-servers")).toEqual([
      {
        name: "docs",
        url: "https://docs.example.org/mcp",
        cost_per_call: "0.02",
        environment: "test",
        headers: { Authorization: "Bearer secret" },
      },
    ]);
  });

  it("removes a header that is not wanted", async () => {
    const { server, user } = open([]);
    const dialog = await add(user);
    await user.click(within(dialog).getByRole("button", { name: "Add a header" }));
    await user.click(within(dialog).getByRole("button", { name: "Leave out Authorization" }));
    await user.click(within(dialog).getByRole("button", { name: "Add" }));
    await waitFor(() => expect(server.bodies("POST /tool-servers")).toHaveLength(1));
    expect(server.bodies("POST /tool-servers")[0]).toMatchObject({ headers: {}, cost_per_call: "0" });
  });

  it.each([
    [
      "at its field",
      { errors: [{ field: "url", message: "This address is private." }] },
      "This address is private.",
    ],
    ["below, where it belongs to no field", {}, "Ten servers are enough."],
  ])("shows a refusal %s, and keeps what was typed", async (_, more, words) => {
    const { user } = open([], {
      "POST /tool-servers": problem(422, "invalid", "Ten servers are enough.", more),
    });
    const dialog = await add(user);
    await user.click(within(dialog).getByRole("button", { name: "Add" }));
    await within(dialog).findByText(words);
    expect(within(dialog).getByLabelText<HTMLInputElement>("Address").value).toBe(
      "https://docs.example.org/mcp",
    );
  });

  it("does not send the headers of a stored server unless they are replaced", async () => {
    const { server, user } = open([makeServer({ header_names: ["Authorization"] })]);
    await chooseEntry(user, "What to do with issues", "Change");
    const dialog = await screen.findByRole("dialog", { name: "Change the server" });
    within(dialog).getByText(/It is sent Authorization/);
    await user.click(within(dialog).getByRole("button", { name: "Save" }));
    await waitFor(() => expect(server.bodies("PATCH /tool-servers/s1")).toHaveLength(1));
    expect(server.bodies("PATCH /tool-servers/s1")[0]).not.toHaveProperty("headers");
  });
});
