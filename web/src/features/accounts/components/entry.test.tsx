import { screen, waitFor } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import { makeUser } from "@/test/factories";
import { renderApp } from "@/test/render";
import { fakeServer, problem } from "@/test/server";
import { InvitationForm, SetupForm, SignInForm } from "./entry";

const me = makeUser();

describe("signing in", () => {
  const show = (routes: Record<string, object>) => {
    const server = fakeServer(routes);
    const onDone = vi.fn();
    return { ...renderApp(<SignInForm onDone={onDone} />), server, onDone };
  };
  const enter = async (view: ReturnType<typeof show>, name: string, password: string) => {
    await view.user.type(await screen.findByLabelText("User name or e-mail"), name);
    await view.user.type(screen.getByLabelText("Password"), password);
    await view.user.click(screen.getByRole("button", { name: "Sign in" }));
  };

  it("sends the name without spaces around it, and the password as typed", async () => {
    const view = show({ "POST /session": { status: 201, body: me } });
    await enter(view, " ana ", " correct horse ");
    await waitFor(() => expect(view.onDone.mock.calls[0]?.[0]).toEqual(me));
    expect(view.server.bodies("POST /session")).toEqual([{ username: "ana", password: " correct horse " }]);
  });

  it("says what is wrong and keeps what was typed", async () => {
    const view = show({
      "POST /session": problem(401, "wrong_credentials", "The name or password is wrong."),
    });
    await enter(view, "ana", "wrong");
    expect((await screen.findByRole("alert")).textContent).toBe("The name or password is wrong.");
    expect(screen.getByLabelText("User name or e-mail")).toHaveProperty("value", "ana");
    expect(view.onDone).not.toHaveBeenCalled();
  });

  it("has the focus in the first field", async () => {
    show({});
    const field = await screen.findByLabelText("User name or e-mail");
    await waitFor(() => expect(document.activeElement).toBe(field));
  });
});

describe("the first account", () => {
  const show = (routes: Record<string, object>) => {
    const server = fakeServer(routes);
    const onDone = vi.fn();
    return { ...renderApp(<SetupForm onDone={onDone} />), server, onDone };
  };
  const fill = async (view: ReturnType<typeof show>) => {
    await view.user.type(await screen.findByLabelText("Your name"), "Ana");
    await view.user.type(screen.getByLabelText("User name"), "ana");
    await view.user.type(screen.getByLabelText("Password"), "correct horse battery");
    await view.user.click(screen.getByRole("button", { name: "Begin" }));
  };

  it("is created with the three fields", async () => {
    const view = show({ "POST /setup": { status: 201, body: me } });
    await fill(view);
    await waitFor(() => expect(view.onDone).toHaveBeenCalled());
    expect(view.server.bodies("POST /setup")).toEqual([
      { name: "Ana", username: "ana", password: "correct horse battery" },
    ]);
  });

  it("shows an error at its field, and only there", async () => {
    const view = show({
      "POST /setup": problem(422, "weak_password", "Choose another password.", {
        errors: [{ field: "password", message: "This is easy to guess." }],
      }),
    });
    await fill(view);
    const alert = await screen.findByRole("alert");
    expect(alert.textContent).toBe("This is easy to guess.");
    expect(screen.getByLabelText("Password").getAttribute("aria-invalid")).toBe("true");
    expect(screen.getAllByRole("alert")).toHaveLength(1);
  });

  it("shows an error that belongs to no field above the button", async () => {
    const view = show({ "POST /setup": problem(409, "already_set_up", "There is an account already.") });
    await fill(view);
    expect((await screen.findByRole("alert")).textContent).toBe("There is an account already.");
  });
});

describe("an invitation", () => {
  const offer = {
    makes_account: true,
    role: "user",
    email: "eve@example.org",
    plan_name: "Pro",
    project_name: null as string | null,
    project_role: null as string | null,
    invited_by: "Ada",
    expires_at: "2026-12-24T12:00:00Z",
  };
  const show = (routes: Record<string, object>) => {
    const server = fakeServer(routes);
    const [onDone, onJoined] = [vi.fn(), vi.fn()];
    return {
      ...renderApp(<InvitationForm token="iabc" onDone={onDone} onJoined={onJoined} />),
      server,
      onDone,
      onJoined,
    };
  };

  it("makes an account with its plan, and with another address if one is entered", async () => {
    const view = show({
      "GET /invitations/iabc": offer,
      "POST /invitations/iabc/accept": { status: 201, body: me },
    });
    await screen.findByText("Make your account. Plan: Pro.");
    expect(screen.getByLabelText<HTMLInputElement>(/E-mail/).value).toBe("eve@example.org");
    await view.user.clear(screen.getByLabelText(/E-mail/));
    await view.user.type(screen.getByLabelText("Your name"), "Eve");
    await view.user.type(screen.getByLabelText("User name"), "eve");
    await view.user.type(screen.getByLabelText("Password"), "correct horse battery");
    await view.user.click(screen.getByRole("button", { name: "Make the account" }));
    await waitFor(() => expect(view.onDone.mock.calls[0]?.[0]).toEqual(me));
    expect(view.server.bodies("POST /invitations/iabc/accept")).toEqual([
      { name: "Eve", username: "eve", password: "correct horse battery", email: null },
    ]);
  });

  it("keeps what was typed when the name is taken", async () => {
    const view = show({
      "GET /invitations/iabc": { ...offer, email: null },
      "POST /invitations/iabc/accept": problem(409, "username_taken", "This user name is taken."),
    });
    await view.user.type(await screen.findByLabelText("Your name"), "Eve");
    await view.user.type(screen.getByLabelText("User name"), "eve");
    await view.user.type(screen.getByLabelText("Password"), "correct horse battery");
    await view.user.click(screen.getByRole("button", { name: "Make the account" }));
    expect((await screen.findByRole("alert")).textContent).toBe("This user name is taken.");
    expect(screen.getByLabelText<HTMLInputElement>("User name").value).toBe("eve");
  });

  const toGarden = {
    ...offer,
    makes_account: false,
    plan_name: null,
    project_name: "Garden",
    project_role: "viewer",
  };

  it("into a project is joined with the account that is signed in", async () => {
    const view = show({
      "GET /invitations/iabc": toGarden,
      "GET /me": me,
      "POST /invitations/iabc/join": { project_id: "p1" },
    });
    await screen.findByText(/Ada invites you to this project. You will read what is open to its members./);
    await view.user.click(screen.getByRole("button", { name: `Join as ${me.name}` }));
    await waitFor(() => expect(view.onJoined).toHaveBeenCalledWith("p1"));
  });

  it("into a project is joined after signing in, and says why it cannot be", async () => {
    const view = show({
      "GET /invitations/iabc": toGarden,
      "GET /me": problem(401, "not_signed_in", "Sign in."),
      "POST /session": me,
      "POST /invitations/iabc/join": problem(409, "already_member", "Eve is a member already."),
    });
    await screen.findByText("Sign in with your account first.");
    await view.user.type(screen.getByLabelText("User name or e-mail"), "eve");
    await view.user.type(screen.getByLabelText("Password"), "correct horse battery");
    await view.user.click(screen.getByRole("button", { name: "Sign in" }));
    await view.user.click(await screen.findByRole("button", { name: `Join as ${me.name}` }));
    expect((await screen.findByRole("alert")).textContent).toBe("Eve is a member already.");
    expect(screen.getByRole("link", { name: "Open your projects" }).getAttribute("href")).toBe("/projects");
    expect(screen.queryByRole("button", { name: /Join as/ })).toBeNull();
  });

  it("of an administrator into a project makes an account, or takes the one that a person has", async () => {
    const view = show({
      "GET /invitations/iabc": { ...toGarden, makes_account: true },
      "GET /me": problem(401, "not_signed_in", "Sign in."),
    });
    await screen.findByText(/You will belong to the project Garden\./);
    await view.user.click(screen.getByRole("button", { name: "I have an account" }));
    await screen.findByText("Sign in with your account first.");
  });

  it("that does not work any more says what to do", async () => {
    show({ "GET /invitations/iabc": problem(404, "invitation_not_found", "Ask for a new link.") });
    await screen.findByText("This invitation does not work");
    await screen.findByText("Ask for a new link.");
    screen.getByRole("link", { name: "Sign in with an account" });
  });
});
