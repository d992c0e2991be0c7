import { screen, waitFor, within } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import { makeChannel, makeProject } from "@/test/factories";
import { renderApp } from "@/test/render";
import { fakeServer, problem } from "@/test/server";
import { countUnread } from "../events";
import { type Channel, channelsQuery, type Project } from "../queries";
import { Channels } from "./channels";

function open(channels: Channel[], project: Partial<Project> = {}, routes: Record<string, unknown> = {}) {
  const server = fakeServer({ "GET /channels": { items: channels }, ...(routes as Record<string, null>) });
  return { server, ...renderApp(<Channels project={makeProject({ channels: [], ...project })} />) };
}
const row = async (name: string) => (await screen.findByRole("link", { name })).closest("li") as HTMLElement;
const more = async (user: ReturnType<typeof open>["user"], name: string, entry: string) => {
  await user.click(await screen.findByRole("button", { name: `More about ${name}` }));
  await user.click(await screen.findByRole("menuitem", { name: entry }));
};

describe("channels", () => {
  it("show what is unread, and how often one is named, also where they are muted", async () => {
    open([
      makeChannel({ unread_count: 3 }),
      makeChannel({ id: "n2", name: "named", unread_count: 100, mention_count: 100 }),
      makeChannel({ id: "n3", name: "quiet", unread_count: 5, is_muted: true }),
      makeChannel({ id: "n4", name: "quiet-named", mention_count: 1, is_muted: true }),
      makeChannel({ id: "n5", name: "elsewhere", project_id: "p2" }),
    ]);
    expect(within(await row("general")).getByText("3").textContent).toBe("3 unread");
    expect(within(await row("named")).getByText("99+").textContent).toBe("99+ mentions of you");
    expect((await row("quiet")).textContent).not.toContain("5");
    within(await row("quiet")).getByRole("img", { name: "Muted" });
    expect(within(await row("quiet-named")).getByText("1").textContent).toBe("1 mention of you");
    expect(screen.queryByRole("link", { name: "elsewhere" })).toBeNull();
  });

  it("are created, and what was typed stays when the name is taken", async () => {
    const { server, user } = open(
      [makeChannel()],
      {},
      {
        "POST /projects/p1/channels": problem(409, "channel_name_taken", "Choose another name."),
      },
    );
    await user.click(await screen.findByRole("button", { name: "New channel" }));
    await user.type(await screen.findByLabelText("Name"), "Seed swap");
    await user.type(screen.getByLabelText("Topic"), "Beans");
    await user.click(screen.getByRole("button", { name: "Create" }));
    await screen.findByText("Choose another name.");
    expect(screen.getByLabelText<HTMLInputElement>("Name").value).toBe("Seed swap");
    server.set("POST /projects/p1/channels", { status: 201, body: makeChannel({ id: "n2" }) });
    await user.click(screen.getByRole("button", { name: "Create" }));
    await waitFor(() => expect(screen.queryByRole("dialog", { name: "New channel" })).toBeNull());
    expect(server.bodies("POST /projects/p1/channels")[1]).toEqual({ name: "Seed swap", topic: "Beans" });
  });

  it("are muted, changed and deleted, which can be undone", async () => {
    const { server, user } = open(
      [makeChannel({ topic: "All" })],
      {},
      {
        "PUT /channels/n1/muted": makeChannel({ is_muted: true }),
        "PATCH /channels/n1": makeChannel({ topic: null }),
        "DELETE /channels/n1": null,
        "POST /channels/n1/restore": makeChannel(),
      },
    );
    await more(user, "general", "Mute");
    await screen.findByRole("img", { name: "Muted" });
    await more(user, "general", "Change name and topic");
    await user.clear(await screen.findByLabelText("Topic"));
    await user.click(screen.getByRole("button", { name: "Save" }));
    await waitFor(() =>
      expect(server.bodies("PATCH /channels/n1")).toEqual([{ name: "general", topic: null }]),
    );
    await more(user, "general", "Delete");
    await screen.findByText("#general is deleted.");
    await user.click(screen.getByRole("button", { name: "Undo" }));
    await waitFor(() => expect(server.bodies("POST /channels/n1/restore")).toHaveLength(1));
  });

  it.each([
    ["viewer", ["Mute"]],
    ["member", ["Mute", "Change name and topic"]],
  ] as const)("give a %s only what they may do", async (role, entries) => {
    const { user } = open([makeChannel()], { role });
    await user.click(await screen.findByRole("button", { name: "More about general" }));
    const shown = await screen.findAllByRole("menuitem");
    expect(shown.map((entry) => entry.textContent)).toEqual(entries);
    expect(screen.queryByRole("button", { name: "New channel" }) !== null).toBe(role === "member");
  });

  it("are counted again at most every two seconds while many write, each alone", async () => {
    const { client, server } = open(
      [makeChannel(), makeChannel({ id: "n2", chat_id: "c8", name: "other" })],
      {},
      {
        "GET /channels/n1": makeChannel({ unread_count: 7 }),
      },
    );
    await screen.findByRole("link", { name: "general" });
    const asked = () => server.calls.filter((call) => call.path === "/channels/n1").length;
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const change = { topic: "chat:c9" } as Parameters<typeof countUnread>[1];
    for (let number = 0; number < 5; number++) countUnread(client, change);
    countUnread(client, { topic: "chat:unknown" } as typeof change);
    expect(asked()).toBe(1);
    vi.advanceTimersByTime(1999);
    expect(asked()).toBe(1);
    vi.advanceTimersByTime(1);
    vi.useRealTimers();
    expect(asked()).toBe(2);
    await waitFor(async () => expect((await row("general")).textContent).toContain("7 unread"));
    expect(client.getQueryData(channelsQuery.queryKey)).toHaveLength(2);
  });
});
