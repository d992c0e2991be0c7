import { screen, waitFor } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import type { Schemas } from "@/api/client";
import { renderApp } from "@/test/render";
import { type Call, fakeServer, problem } from "@/test/server";
import { AuditLog } from "./audit-log";

const entry = (fields: Partial<Schemas["AuditEntry"]>): Schemas["AuditEntry"] => ({
  id: "a1",
  created_at: "2026-11-20T10:00:00Z",
  user: { id: "u1", username: "ada", name: "Ada" },
  action: "session.start",
  entity: null,
  entity_id: null,
  entity_name: null,
  ip_address: "192.0.2.1",
  ...fields,
});

function open(answer: (call: Call) => unknown) {
  const server = fakeServer({
    "GET /audit-log": answer,
    "GET /audit-log/actions": { items: ["session.start", "user.role"] },
  });
  return { server, ...renderApp(<AuditLog />) };
}

const listed = (server: ReturnType<typeof fakeServer>) =>
  server.calls.filter((call) => call.path === "/audit-log");

describe("the audit log", () => {
  it("says who did what, when and from where", async () => {
    open(() => ({
      items: [
        entry({}),
        entry({ id: "a2", action: "user.role", entity: "user", entity_id: "u2", entity_name: "bob" }),
        entry({ id: "a3", user: null, action: "odd.thing", ip_address: null }),
      ],
      next_cursor: null,
    }));
    expect((await screen.findAllByRole("row")).slice(1).map((row) => row.textContent)).toEqual([
      expect.stringContaining("Ada (ada)Signed in192.0.2.1"),
      expect.stringContaining("Ada (ada)Changed a role: bob192.0.2.1"),
      expect.stringContaining("Command line or deleted accountodd.thing–"),
    ]);
  });

  it("narrows the list and the download to a person, once the name is typed", async () => {
    const { user, server } = open(() => ({ items: [entry({})], next_cursor: null }));
    await screen.findByText("192.0.2.1");
    await user.type(screen.getByLabelText("Who"), "ada");
    const last = () => listed(server).at(-1)?.query.get("username");
    await waitFor(() => expect(last()).toBe("ada"));
    expect(listed(server)).toHaveLength(2);
    expect(screen.getByRole("link", { name: "Download as CSV" }).getAttribute("href")).toBe(
      "/api/v1/audit-log/export?format=csv&username=ada",
    );
  });

  it("asks for whole days of the person's own time zone", async () => {
    const { user, server } = open(() => ({ items: [], next_cursor: null }));
    await screen.findByText("Nothing was recorded that fits.");
    await user.type(screen.getByLabelText("From"), "2026-11-01");
    await user.type(screen.getByLabelText("To"), "2026-11-02");
    const query = () => listed(server).at(-1)?.query;
    await waitFor(() => expect(query()?.get("until")).toBe(new Date(2026, 10, 3).toISOString()));
    expect(query()?.get("since")).toBe(new Date(2026, 10, 1).toISOString());
  });

  it("shows older entries, and keeps what is shown when they cannot be loaded", async () => {
    let isBroken = true;
    const { user } = open((call) => {
      if (call.query.get("cursor") && isBroken) return problem(422, "invalid_cursor", "Start again.");
      return call.query.get("cursor")
        ? { items: [entry({ id: "a2", ip_address: "192.0.2.2" })], next_cursor: null }
        : { items: [entry({})], next_cursor: "more" };
    });
    await user.click(await screen.findByRole("button", { name: "Show older entries" }));
    await screen.findByText("Start again.");
    expect(screen.getByText("192.0.2.1")).toBeTruthy();
    isBroken = false;
    await user.click(await screen.findByRole("button", { name: "Show older entries" }));
    await screen.findByText("192.0.2.2");
    expect(screen.getByText("192.0.2.1")).toBeTruthy();
    expect(screen.queryByRole("button", { name: "Show older entries" })).toBeNull();
  });

  it("says why it cannot be read", async () => {
    open(() => problem(403, "admin_only", "Only an administrator can do this."));
    await screen.findByText("Only an administrator can do this.");
  });
});
