import { screen, waitFor, within } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { makeUser } from "@/test/factories";
import { newClient, renderApp } from "@/test/render";
import { fakeServer, page, problem } from "@/test/server";
import { meQuery } from "../queries";
import { Security } from "./security";

const MOMENT = "2026-11-22T12:00:00Z";
const device = (id: string, fields: object = {}) => ({
  id,
  browser: "Firefox",
  platform: "Linux",
  ip_address: "192.0.2.1",
  is_current: false,
  started_at: MOMENT,
  last_active_at: MOMENT,
  ...fields,
});
const token = (id: string, fields: object = {}) => ({
  id,
  name: `Token ${id}`,
  prefix: "tta_ab",
  scopes: ["read"],
  last_used_at: null,
  expires_at: null,
  ...fields,
});

function show(routes: Record<string, object | null> = {}, role: "user" | "admin" = "user") {
  const server = fakeServer({
    "GET /sessions": page([]),
    "GET /api-tokens": page([]),
    "GET /me/failed-sign-ins": { count: 0, last_at: null, last_address: null },
    ...routes,
  });
  const client = newClient();
  client.setQueryData(meQuery.queryKey, makeUser({ role }));
  return { ...renderApp(<Security dataLink={<a href="/data">export</a>} />, client), server };
}

describe("wrong passwords of others", () => {
  it("are told with their number, time and address", async () => {
    const failed = { count: 12, last_at: MOMENT, last_address: "203.0.113.9" };
    show({ "GET /me/failed-sign-ins": failed });
    expect(await screen.findByText(/12 wrong passwords were entered.*203\.0\.113\.9/)).toBeTruthy();
  });

  it("are not mentioned if there are none", async () => {
    show();
    await screen.findByText("Devices");
    expect(screen.queryByText(/wrong password/)).toBeNull();
  });
});

describe("the password", () => {
  const change = async (view: ReturnType<typeof show>) => {
    await view.user.type(await screen.findByLabelText("Current password"), "old password here");
    await view.user.type(screen.getByLabelText("New password"), "a new password here");
    await view.user.click(screen.getByRole("button", { name: "Change password" }));
  };

  it("is changed, and the fields are emptied", async () => {
    const view = show({ "PUT /me/password": makeUser() });
    await change(view);
    expect(await screen.findByText(/Your other devices are signed out/)).toBeTruthy();
    expect(view.server.bodies("PUT /me/password")).toEqual([
      { password: "old password here", new_password: "a new password here" },
    ]);
    expect(screen.getByLabelText("New password")).toHaveProperty("value", "");
  });

  it("stays typed when the server refuses it, with the reason at the field", async () => {
    const view = show({
      "PUT /me/password": problem(422, "wrong_password", "Wrong.", {
        errors: [{ field: "password", message: "This is not your password." }],
      }),
    });
    await change(view);
    expect(await screen.findByText("This is not your password.")).toBeTruthy();
    expect(screen.getByLabelText("New password")).toHaveProperty("value", "a new password here");
  });

  it("cannot be sent half filled in", async () => {
    const view = show();
    await view.user.type(await screen.findByLabelText("New password"), "only this one");
    expect(screen.getByRole("button", { name: "Change password" })).toHaveProperty("disabled", true);
  });
});

describe("devices", () => {
  it("can be signed out, except this one", async () => {
    const view = show({
      "GET /sessions": page([
        device("s1", { is_current: true }),
        device("s2", { browser: "Other", platform: "Other" }),
      ]),
      "DELETE /sessions/s2": null,
    });
    expect(await screen.findByText("Firefox on Linux")).toBeTruthy();
    expect(screen.getByText("A device")).toBeTruthy();
    expect(screen.getByText("This device")).toBeTruthy();
    await view.user.click(screen.getByRole("button", { name: "Sign out" }));
    await waitFor(() => expect(view.server.calls.some((call) => call.method === "DELETE")).toBe(true));
  });

  it("come in pages", async () => {
    const view = show({
      "GET /sessions": ({ query }: { query: URLSearchParams }) =>
        query.get("cursor") ? page([device("s2", { browser: "Safari" })]) : page([device("s1")], "next"),
    });
    await view.user.click(await screen.findByRole("button", { name: "Show more" }));
    expect(await screen.findByText("Safari on Linux")).toBeTruthy();
    expect(screen.queryByRole("button", { name: "Show more" })).toBeNull();
  });

  it("can be asked for again when they cannot be loaded", async () => {
    const view = show({ "GET /sessions": problem(503, "storage_unavailable", "Not now.") });
    expect(await screen.findByText("Not now.")).toBeTruthy();
    view.server.set("GET /sessions", page([device("s1")]));
    await view.user.click(screen.getByRole("button", { name: /again/i }));
    expect(await screen.findByText("Firefox on Linux")).toBeTruthy();
  });
});

describe("API tokens", () => {
  const openForm = async (view: ReturnType<typeof show>) => {
    await view.user.click(await screen.findByRole("button", { name: "New token" }));
    return within(await screen.findByRole("dialog"));
  };

  it("are listed with what they may do and when they were used", async () => {
    show({ "GET /api-tokens": page([token("t1", { scopes: ["read", "write"] })]) });
    expect(await screen.findByText("Token t1")).toBeTruthy();
    expect(screen.getByText("read, write · not used yet")).toBeTruthy();
  });

  it("are shown once when they are made", async () => {
    const view = show({ "POST /api-tokens": { status: 201, body: { ...token("t1"), token: "tta_secret" } } });
    const form = await openForm(view);
    await view.user.type(form.getByLabelText("What it is for"), "Backup");
    await view.user.click(form.getByRole("button", { name: "Make token" }));
    expect(await screen.findByText("tta_secret")).toBeTruthy();
    expect(view.server.bodies("POST /api-tokens")).toEqual([
      { name: "Backup", scopes: ["read", "write"], expires_at: null },
    ]);
  });

  it("that were shown already are not shown again", async () => {
    const view = show({ "POST /api-tokens": { status: 201, body: { ...token("t1"), token: null } } });
    const form = await openForm(view);
    await view.user.type(form.getByLabelText("What it is for"), "Backup");
    await view.user.click(form.getByRole("button", { name: "Make token" }));
    expect(await screen.findByText(/was shown already/)).toBeTruthy();
  });

  it("need a scope", async () => {
    const view = show();
    const form = await openForm(view);
    await view.user.type(form.getByLabelText("What it is for"), "Backup");
    for (const scope of form.getAllByRole("checkbox")) await view.user.click(scope);
    expect(form.getByRole("button", { name: "Make token" })).toHaveProperty("disabled", true);
  });

  it.each([
    ["user", 2],
    ["admin", 3],
  ] as const)("of a %s may have %i scopes", async (role, count) => {
    const form = await openForm(show({}, role));
    expect(form.getAllByRole("checkbox")).toHaveLength(count);
  });

  it("are revoked", async () => {
    const view = show({ "GET /api-tokens": page([token("t1")]), "DELETE /api-tokens/t1": null });
    await view.user.click(await screen.findByRole("button", { name: "Revoke" }));
    await waitFor(() => expect(view.server.calls.some((call) => call.method === "DELETE")).toBe(true));
  });

  it("say so when there are none", async () => {
    show();
    expect(await screen.findByText("No tokens yet.")).toBeTruthy();
  });
});
