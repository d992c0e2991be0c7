import { screen, waitFor } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import { chooseOption, renderApp } from "@/test/render";
import { type Call, fakeServer, problem } from "@/test/server";
import type { Invitation } from "../queries";
import { Invitations, ProjectInvitations } from "./invitations";

function makeInvitation(fields: Partial<Invitation> = {}): Invitation {
  return {
    id: "i1",
    role: "user",
    email: "eve@example.org",
    plan_id: null,
    plan_name: null,
    project_id: null,
    project_role: null,
    expires_at: "2999-01-01T00:00:00Z",
    accepted_at: null,
    user_name: null,
    created_at: "2026-11-01T00:00:00Z",
    ...fields,
  };
}

function open(items: Invitation[]) {
  const server = fakeServer({
    "GET /invitations": () => ({ items, next_cursor: null }),
    "POST /invitations": (call: Call) => ({
      ...makeInvitation({ id: "i2", ...(call.body as object) }),
      token: "iabc",
    }),
    "DELETE /invitations/i1": () => {
      items = [];
      return null;
    },
  });
  const choice = (value: string, choose: (planId: string) => void) => (
    <button type="button" onClick={() => choose("p1")}>
      Plan {value || "none"}
    </button>
  );
  return { server, ...renderApp(<Invitations planChoice={choice} />) };
}

describe("invitations into a project", () => {
  it("are made with a role, listed for the project alone, and withdrawn", async () => {
    const server = fakeServer({
      "GET /invitations": () => ({
        items: [makeInvitation({ email: null, project_role: "viewer" })],
        next_cursor: null,
      }),
      "POST /invitations": { ...makeInvitation({ id: "i2" }), token: "iabc" },
      "DELETE /invitations/i1": null,
    });
    const { user } = renderApp(<ProjectInvitations projectId="p1" />);
    await screen.findByText("Viewer");
    expect(server.calls[0]?.query.get("project_id")).toBe("p1");
    await user.click(screen.getByRole("button", { name: "Invite with a link" }));
    await chooseOption(user, "Role", "Viewer Only reads");
    await user.click(screen.getByRole("button", { name: "Make a link" }));
    await screen.findByText(`${window.location.origin}/invitation/iabc`);
    expect(server.bodies("POST /invitations")[0]).toMatchObject({ project_id: "p1", project_role: "viewer" });
    await user.click(screen.getByRole("button", { name: "Done" }));
    await user.click(screen.getByRole("button", { name: "Withdraw the invitation of Nov 1, 2026" }));
    await screen.findByText("The link does not work any more.");
  });
});

describe("invitations", () => {
  it("say whether they are open, accepted or expired", async () => {
    open([
      makeInvitation({ plan_name: "Pro" }),
      makeInvitation({ id: "i2", email: null, user_name: "Bob", accepted_at: "2026-11-02T12:00:00Z" }),
      makeInvitation({ id: "i3", email: null, expires_at: "2026-11-08T12:00:00Z", role: "admin" }),
    ]);
    await screen.findByText(/Open until/);
    screen.getByText(/Accepted on Nov 2, 2026/);
    screen.getByText(/Expired on Nov 8, 2026/);
    screen.getByText("Pro");
    expect(screen.getAllByRole("button", { name: /Withdraw/ })).toHaveLength(1);
  });

  it("are made as a link, which is shown once", async () => {
    const { server, user } = open([]);
    const written = vi.spyOn(navigator.clipboard, "writeText");
    await user.click(await screen.findByRole("button", { name: "Invite a person" }));
    await user.type(await screen.findByLabelText(/E-mail/), " bob@example.org ");
    await user.click(screen.getByRole("button", { name: "Plan none" }));
    await chooseOption(user, "Valid for", "1 day");
    await user.click(screen.getByRole("button", { name: "Make a link" }));
    await screen.findByText(`${window.location.origin}/invitation/iabc`);
    await user.click(screen.getByRole("button", { name: "Copy the link" }));
    expect(written).toHaveBeenCalledWith(`${window.location.origin}/invitation/iabc`);
    const [body] = server.bodies("POST /invitations") as [{ expires_at: string }];
    expect(body).toMatchObject({ role: "user", email: "bob@example.org", plan_id: "p1" });
    const hours = (new Date(body.expires_at).getTime() - Date.now()) / 3_600_000;
    expect(hours).toBeGreaterThan(23);
    expect(hours).toBeLessThanOrEqual(24);
  });

  it("keep what was typed when the server refuses it", async () => {
    const { server, user } = open([]);
    server.set(
      "POST /invitations",
      problem(409, "too_many_invitations", "At most 500 invitations can be open."),
    );
    await user.click(await screen.findByRole("button", { name: "Invite a person" }));
    await user.type(await screen.findByLabelText(/E-mail/), "bob@example.org");
    await user.click(screen.getByRole("button", { name: "Make a link" }));
    expect((await screen.findByRole("alert")).textContent).toBe("At most 500 invitations can be open.");
    expect(screen.getByLabelText<HTMLInputElement>(/E-mail/).value).toBe("bob@example.org");
  });

  it("can be withdrawn", async () => {
    const { user } = open([makeInvitation()]);
    await user.click(await screen.findByRole("button", { name: "Withdraw the invitation eve@example.org" }));
    await screen.findByText("The link does not work any more.");
    await waitFor(() => expect(screen.queryByText("eve@example.org")).toBeNull());
  });
});
