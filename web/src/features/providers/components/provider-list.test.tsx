import { screen, waitFor, within } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import type { Schemas } from "@/api/client";
import { chooseEntry, chooseOption, renderApp } from "@/test/render";
import { type Call, fakeServer, page, problem } from "@/test/server";
import { ProviderList } from "./provider-list";

type Config = Schemas["ProviderConfigRead"];

const VENDORS = [
  {
    id: "openai",
    display_name: "OpenAI",
    needs_key: true,
    key_url: "https://platform.example.org/keys",
    key_help: null,
    base_url: "https://api.example.org/v1",
    note: null,
    fields: [],
  },
  {
    id: "azure",
    display_name: "Azure",
    needs_key: true,
    key_url: null,
    key_help: "In the portal.",
    base_url: null,
    note: "It lists its deployments.",
    fields: [{ name: "api_version", label: "API version", help: "Such as 2026-01.", placeholder: "2026-01" }],
  },
];

function makeConfig(fields: Partial<Config> = {}): Config {
  return {
    id: "p1",
    provider: "openai",
    name: null,
    base_url: null,
    settings: {},
    key_hint: "sk-1",
    is_active: true,
    is_default: false,
    model_count: 12,
    last_error: null,
    last_used_at: null,
    ...fields,
  } as Config;
}

/** A server that stores provider configurations, as the real one does. */
function open(stored: Config[] = [makeConfig()], routes: object = {}) {
  let configs = stored;
  const server = fakeServer({
    "GET /providers": { items: VENDORS },
    "GET /provider-configs": () => page(configs),
    "POST /provider-configs": ({ body }: Call) => {
      const { api_key, ...rest } = body as Schemas["ProviderConfigCreate"];
      configs = [
        ...configs,
        makeConfig({ ...(rest as Config), id: "p9", key_hint: api_key?.slice(0, 4) ?? null }),
      ];
      return configs.at(-1);
    },
    "PATCH /provider-configs/p1": ({ body }: Call) => {
      configs = configs.map((config) => (config.id === "p1" ? { ...config, ...(body as Config) } : config));
      return configs[0];
    },
    "DELETE /provider-configs/p1": () => {
      configs = configs.filter((config) => config.id !== "p1");
      return null;
    },
    "POST /provider-configs/p1/test": { ok: true, detail: "12 models." },
    "POST /provider-configs/p9/test": { ok: true, detail: "12 models." },
    ...routes,
  });
  return { server, ...renderApp(<ProviderList />) };
}

describe("the providers of a person", () => {
  it("explains itself while there are none", async () => {
    open([]);
    await screen.findByText(/None yet/);
  });

  it.each([
    ["its key and models", {}, ["key sk-1…", "12 models", "not used yet"]],
    ["its own name", { name: "work" }, ["OpenAI · work"]],
    ["that new chats use it", { is_default: true }, ["For new chats"]],
    ["that it is not used", { is_active: false }, ["Put aside"]],
    ["its last error", { last_error: "The key is not valid." }, ["The key is not valid."]],
    ["its address", { base_url: "https://own.example.org" }, ["https://own.example.org"]],
  ])("shows %s", async (_, fields, words) => {
    open([makeConfig(fields)]);
    const row = await screen.findByRole("listitem");
    for (const word of words) expect(row.textContent).toContain(word);
  });

  it("tests a provider and says what came of it", async () => {
    const { server, user } = open();
    await user.click(await screen.findByRole("button", { name: "Test" }));
    await screen.findByText("It works. 12 models.");
    server.set("POST /provider-configs/p1/test", { ok: false, detail: "The key is not valid." });
    await user.click(screen.getByRole("button", { name: "Test" }));
    await screen.findByText("The key is not valid.");
  });

  it("sets one aside and uses it again", async () => {
    const { server, user } = open();
    await chooseEntry(user, "What to do with OpenAI", "Put aside");
    await screen.findByText("Put aside", { selector: "span" });
    await chooseEntry(user, "What to do with OpenAI", "Use again");
    await waitFor(() => expect(screen.queryByText("Put aside", { selector: "span" })).toBeNull());
    expect(server.bodies("PATCH /provider-configs/p1")).toEqual([{ is_active: false }, { is_active: true }]);
  });

  it("uses one for new chats", async () => {
    const { user } = open();
    await chooseEntry(user, "What to do with OpenAI", "Use for new chats");
    await screen.findByText("For new chats");
  });

  it("removes one only after a second answer, as its key cannot be brought back", async () => {
    const { server, user } = open();
    await chooseEntry(user, "What to do with OpenAI", "Remove");
    const dialog = await screen.findByRole("dialog", { name: "Remove OpenAI?" });
    await user.click(within(dialog).getByRole("button", { name: "Keep it" }));
    expect(server.calls.some((call) => call.method === "DELETE")).toBe(false);
    await chooseEntry(user, "What to do with OpenAI", "Remove");
    await user.click(
      within(await screen.findByRole("dialog", { name: "Remove OpenAI?" })).getByRole("button", {
        name: "Remove",
      }),
    );
    await screen.findByText(/None yet/);
  });
});

describe("the form of a provider", () => {
  async function add(user: ReturnType<typeof open>["user"]) {
    await user.click(await screen.findByRole("button", { name: "Add a provider" }));
    return screen.findByRole("dialog", { name: "Add a provider" });
  }

  it("adds a provider and tests it at once", async () => {
    const { server, user } = open([]);
    const dialog = await add(user);
    const link = await within(dialog).findByRole("link", { name: "Get a key at platform.example.org" });
    expect(link.getAttribute("rel")).toContain("noopener");
    await user.type(within(dialog).getByLabelText("Key"), "sk-secret");
    await user.click(within(dialog).getByRole("button", { name: "Add" }));
    await screen.findByText("It works. 12 models.");
    expect(server.bodies("POST /provider-configs")).toEqual([
      { provider: "openai", name: "", base_url: null, settings: {}, api_key: "sk-secret" },
    ]);
    expect(
      server.calls
        .find((call) => call.path === "/provider-configs" && call.method === "POST")
        ?.headers.get("Idempotency-Key"),
    ).toBeTruthy();
  });

  it("asks for what the chosen provider needs", async () => {
    const { server, user } = open([]);
    const dialog = await add(user);
    await chooseOption(user, "Provider", "Azure");
    await within(dialog).findByText("It lists its deployments.");
    await user.type(within(dialog).getByLabelText("API version"), " 2026-02 ");
    await user.type(within(dialog).getByLabelText("Address"), "https://own.example.org/v1");
    await user.type(within(dialog).getByLabelText("Name"), " work ");
    await user.click(within(dialog).getByRole("button", { name: "Add" }));
    await waitFor(() => expect(server.bodies("POST /provider-configs")).toHaveLength(1));
    expect(server.bodies("POST /provider-configs")[0]).toMatchObject({
      provider: "azure",
      settings: { api_version: "2026-02" },
      base_url: "https://own.example.org/v1",
      name: "work",
      api_key: null,
    });
  });

  it("shows a refusal at its field, and keeps what was typed", async () => {
    const { user } = open([], {
      "POST /provider-configs": problem(422, "invalid", "The request is not valid.", {
        errors: [{ field: "base_url", message: "This address is not reachable." }],
      }),
    });
    const dialog = await add(user);
    await user.type(await within(dialog).findByLabelText("Address"), "https://nowhere.example.org");
    await user.click(within(dialog).getByRole("button", { name: "Add" }));
    await within(dialog).findByText("This address is not reachable.");
    const address = within(dialog).getByLabelText<HTMLInputElement>("Address");
    expect(address.value).toBe("https://nowhere.example.org");
    expect(address.getAttribute("aria-invalid")).toBe("true");
  });

  it("keeps the stored key when the field stays empty", async () => {
    const { server, user } = open([makeConfig({ name: "work" })]);
    await chooseEntry(user, "What to do with OpenAI · work", "Change");
    const dialog = await screen.findByRole("dialog", { name: "Change the provider" });
    const name = await within(dialog).findByLabelText<HTMLInputElement>("Name");
    expect(name.value).toBe("work");
    await user.clear(name);
    await user.click(within(dialog).getByRole("button", { name: "Save" }));
    await waitFor(() => expect(server.bodies("PATCH /provider-configs/p1")).toHaveLength(1));
    expect(server.bodies("PATCH /provider-configs/p1")[0]).toEqual({
      name: "",
      base_url: null,
      settings: {},
    });
  });
});
