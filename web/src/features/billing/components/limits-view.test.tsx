import { screen, waitFor, within } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { chooseOption, renderApp } from "@/test/render";
import { type Call, fakeServer, problem } from "@/test/server";
import type { Limit, Quota } from "../queries";
import { useLimitNotices } from "../use-limit-notices";
import { LimitsView } from "./limits-view";
import { PlaceLimits } from "./place-limits";

function makeLimit(fields: Partial<Limit> = {}): Limit {
  return {
    quota_id: "q1",
    subject_kind: "user",
    subject_id: "u1",
    subject_name: null,
    set_by: "person",
    window: "month",
    is_sliding: false,
    measure: "cost",
    limit: "20",
    used: "5",
    reserved: "1",
    left: "14",
    starts_at: "2026-11-01T00:00:00Z",
    resets_at: "2036-12-01T00:00:00Z",
    ...fields,
  };
}

function makeQuota(fields: Partial<Quota> = {}): Quota {
  return {
    id: "q1",
    subject_kind: "user",
    subject_id: "u1",
    subject_name: "ana",
    set_by: "person",
    window: "month",
    is_sliding: false,
    max_requests: null,
    max_messages: null,
    max_tokens: null,
    max_input_tokens: null,
    max_output_tokens: null,
    max_cost: "20.000000",
    max_storage_bytes: null,
    created_at: "2026-11-01T00:00:00Z",
    updated_at: "2026-11-01T00:00:00Z",
    ...fields,
  };
}

function Page({ isAdmin }: { isAdmin: boolean }) {
  useLimitNotices();
  return <LimitsView meId="u1" isAdmin={isAdmin} />;
}

type Options = {
  limits?: Limit[];
  quotas?: Quota[];
  notices?: { percent: number; limit?: Partial<Limit> }[];
  isAdmin?: boolean;
};

function open({
  limits = [makeLimit()],
  quotas = [makeQuota()],
  notices = [],
  isAdmin = false,
}: Options = {}) {
  const server = fakeServer({
    "GET /limits": { items: limits },
    "GET /quota-notices": {
      items: notices.map(({ percent, limit }) => ({
        id: `n${percent}`,
        percent,
        limit: makeLimit(limit),
        created_at: "2026-11-22T00:00:00Z",
      })),
      next_cursor: null,
    },
    "PUT /quota-notices/n80/seen": { status: 204 },
    "PUT /quota-notices/n50/seen": { status: 204 },
    "GET /quotas": ({ query }: Call) => ({
      items:
        query.get("of") === "me"
          ? quotas
          : [makeQuota({ id: "q2", subject_kind: "role", subject_id: "user" })],
      next_cursor: null,
    }),
    "GET /api-tokens": { items: [{ id: "t1", name: "script" }], next_cursor: null },
    "GET /plans": { items: [] },
    "GET /users": { items: [{ id: "u2", username: "bob" }], next_cursor: null },
    "POST /quotas": { status: 201, body: makeQuota() },
    "PATCH /quotas/q1": makeQuota(),
    "DELETE /quotas/q1": { status: 204 },
  });
  return { server, ...renderApp(<Page isAdmin={isAdmin} />) };
}

describe("the limits", () => {
  it("show what is used and reserved of each", async () => {
    open();
    const bar = await screen.findByRole("meter", { name: "Cost per month" });
    expect(bar.getAttribute("aria-valuetext")).toBe("$5.00 of $20.00");
    await screen.findByText("Set by you · $1.00 reserved for running work · resets December 1");
  });

  it("say that nothing is limited yet, and how to begin", async () => {
    open({ quotas: [] });
    await screen.findByText(/You have set no limit/);
    expect(screen.queryByRole("region", { name: "Limits of everybody" })).toBeNull();
  });

  it("are set for oneself", async () => {
    const { server, user } = open();
    await user.click(await screen.findByRole("button", { name: "Set a limit" }));
    const dialog = within(await screen.findByRole("dialog"));
    expect((dialog.getByRole("button", { name: "Set limit" }) as HTMLButtonElement).disabled).toBe(true);
    await user.type(dialog.getByLabelText("At most (dollars)"), "12,5");
    await chooseOption(user, "Window", "per day");
    await user.click(dialog.getByRole("button", { name: "Set limit" }));
    await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
    expect(server.calls.find((call) => call.method === "POST")?.body).toEqual({
      subject_kind: "user",
      is_own: true,
      subject_id: "u1",
      window: "day",
      is_sliding: false,
      max_cost: "12.5",
    });
  });

  it("are set for an API token, in tokens", async () => {
    const { server, user } = open();
    await user.click(await screen.findByRole("button", { name: "Set a limit" }));
    await chooseOption(user, "Limit", "API token script");
    await chooseOption(user, "What to limit", "Tokens");
    await user.type(screen.getByLabelText("At most"), "1000");
    await user.click(screen.getByRole("button", { name: "Set limit" }));
    await waitFor(() => expect(server.calls.some((call) => call.method === "POST")).toBe(true));
    expect(server.calls.find((call) => call.method === "POST")?.body).toMatchObject({
      subject_kind: "token",
      subject_id: "t1",
      max_tokens: 1000,
    });
  });

  it("are not set to what a comma could mean, nor to a part of a request", async () => {
    const { user } = open();
    await user.click(await screen.findByRole("button", { name: "Set a limit" }));
    const set = screen.getByRole("button", { name: "Set limit" }) as HTMLButtonElement;
    await user.type(screen.getByLabelText("At most (dollars)"), "1,000");
    expect((await screen.findByRole("alert")).textContent).toMatch(/^Write 1000, or a point/);
    expect(set.disabled).toBe(true);
    await chooseOption(user, "What to limit", "Requests");
    await user.clear(screen.getByLabelText("At most"));
    await user.type(screen.getByLabelText("At most"), "1.5");
    expect((await screen.findByRole("alert")).textContent).toBe("Enter a whole number, such as 20.");
    expect(set.disabled).toBe(true);
  });

  it("keep what was typed when the server refuses it", async () => {
    const { server, user } = open();
    server.set(
      "POST /quotas",
      problem(409, "too_many_quotas", "There are already 50 limits. Delete one first."),
    );
    await user.click(await screen.findByRole("button", { name: "Set a limit" }));
    await user.type(screen.getByLabelText("At most (dollars)"), "20");
    await user.click(screen.getByRole("button", { name: "Set limit" }));
    expect((await screen.findByRole("alert")).textContent).toContain("already 50 limits");
    expect((screen.getByLabelText("At most (dollars)") as HTMLInputElement).value).toBe("20");
  });

  it("are raised in place", async () => {
    const { server, user } = open();
    await user.click(await screen.findByRole("button", { name: "Change $20.00 per month" }));
    const amount = screen.getByLabelText("At most (dollars)");
    await user.clear(amount);
    await user.type(amount, "30");
    await user.click(screen.getByRole("button", { name: "Save" }));
    await waitFor(() => expect(server.calls.some((call) => call.method === "PATCH")).toBe(true));
    expect(server.calls.find((call) => call.method === "PATCH")?.body).toMatchObject({ max_cost: "30" });
  });

  it("are deleted, which can be undone", async () => {
    const { server, user } = open();
    await user.click(await screen.findByRole("button", { name: "Delete $20.00 per month" }));
    await user.click(await screen.findByRole("button", { name: "Undo" }));
    await waitFor(() => expect(server.calls.some((call) => call.method === "POST")).toBe(true));
    expect(server.calls.find((call) => call.method === "POST")?.body).toMatchObject({
      subject_id: "u1",
      is_own: true,
      window: "month",
      max_cost: "20.000000",
    });
  });

  it("are set for everybody by an administrator", async () => {
    const { server, user } = open({ isAdmin: true });
    const everybody = within(await screen.findByRole("region", { name: "Limits of everybody" }));
    await everybody.findByText("Each user");
    await user.click(everybody.getByRole("button", { name: "Set a limit" }));
    await chooseOption(user, "Limit", "bob");
    await chooseOption(user, "What to limit", "Stored files");
    await user.type(screen.getByLabelText("At most (megabytes)"), "10");
    await user.click(screen.getByRole("button", { name: "Set limit" }));
    await waitFor(() => expect(server.calls.some((call) => call.method === "POST")).toBe(true));
    expect(server.calls.find((call) => call.method === "POST")?.body).toMatchObject({
      subject_kind: "user",
      subject_id: "u2",
      max_storage_bytes: 10_485_760,
    });
  });

  it("are announced when most of one is used, until that is dismissed", async () => {
    const { server, user } = open({ notices: [{ percent: 80 }, { percent: 50 }] });
    await screen.findByText("You have used 80% of your budget of $20.00 per month.");
    expect(screen.queryByText(/You have used 50%/)).toBeNull(); // one at a time
    server.set("GET /quota-notices", { items: [], next_cursor: null });
    await user.click(screen.getByLabelText("Dismiss"));
    await waitFor(() => expect(server.bodies("PUT /quota-notices/n80/seen")).toHaveLength(1));
    await waitFor(() => expect(screen.queryByText(/You have used 80%/)).toBeNull());
  });

  it("say which files are meant when storage runs out", async () => {
    open({ notices: [{ percent: 100, limit: { measure: "storage", limit: "1048576" } }] });
    await screen.findByText("You have used 100% of your 1 MB for files.");
  });
});

describe("a chat", () => {
  it("has limits that its owner sees and sets next to it", async () => {
    const ofChat = makeLimit({
      quota_id: "q2",
      subject_kind: "chat",
      subject_id: "c1",
      subject_name: "Bread",
    });
    const server = fakeServer({
      "GET /limits": { items: [makeLimit(), ofChat] },
      "POST /quotas": makeQuota({ subject_kind: "chat", subject_id: "c1" }),
    });
    const { user } = renderApp(<PlaceLimits place={{ kind: "chat", id: "c1" }} />);
    expect(await screen.findAllByRole("listitem")).toHaveLength(1);
    await user.click(screen.getByRole("button", { name: "Limit this chat" }));
    await user.type(await screen.findByLabelText("At most (dollars)"), "3");
    await user.click(screen.getByRole("button", { name: "Set limit" }));
    await waitFor(() => expect(screen.queryByRole("dialog", { name: "Limit this chat" })).toBeNull());
    expect(server.bodies("POST /quotas")).toEqual([
      { subject_kind: "chat", subject_id: "c1", window: "month", is_sliding: false, max_cost: "3" },
    ]);
  });
});
