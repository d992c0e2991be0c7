import { screen, waitFor } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import type { Schemas } from "@/api/client";
import { chooseEntry, renderApp } from "@/test/render";
import { type Call, fakeServer, problem } from "@/test/server";
import { People } from "./people";

type Person = Pick<Schemas["UserRead"], "id" | "username" | "name" | "email" | "role" | "status">;

const ADA: Person = { id: "u1", username: "ada", name: "Ada", email: null, role: "admin", status: "active" };
const BOB: Person = {
  id: "u2",
  username: "bob",
  name: "Bob",
  email: "bob@example.org",
  role: "user",
  status: "active",
};

/** A server with two users that stores changes. */
function open() {
  let users = [ADA, BOB];
  const change = (call: Call) => {
    const id = call.path.split("/").at(-1);
    users = users.map((user) => (user.id === id ? { ...user, ...(call.body as object) } : user));
    return users.find((user) => user.id === id);
  };
  const server = fakeServer({
    "GET /me": ADA,
    "GET /users": () => ({ items: users, next_cursor: null }),
    "PATCH /users/u2": change,
    "POST /users": (call: Call) => {
      const user = { ...BOB, email: null, id: "u3", ...(call.body as object) };
      users = [...users, user];
      return user;
    },
  });
  return {
    server,
    ...renderApp(
      <People planOf={(user) => <p>Plan of {user.name}</p>} usageOf={(user) => <p>Use of {user.name}</p>} />,
    ),
  };
}

describe("the people of a server", () => {
  it("marks the administrator and who you are", async () => {
    open();
    await screen.findByText("bob · bob@example.org");
    expect(screen.getAllByText("Administrator")).toHaveLength(1);
    expect(screen.getAllByText("You")).toHaveLength(1);
    expect(screen.queryByText("Deactivated")).toBeNull();
  });

  it("deactivates a person and activates them again by undo", async () => {
    const { server, user } = open();
    await chooseEntry(user, "What to do with Bob", "Deactivate");
    await screen.findByText("Deactivated");
    await user.click(await screen.findByRole("button", { name: "Undo" }));
    await waitFor(() => expect(screen.queryByText("Deactivated")).toBeNull());
    expect(server.bodies("PATCH /users/u2")).toEqual([{ status: "inactive" }, { status: "active" }]);
  });

  it("says why a change was refused", async () => {
    const { server, user } = open();
    server.set("PATCH /users/u2", problem(409, "last_admin", "One administrator must stay."));
    await chooseEntry(user, "What to do with Bob", "Make an administrator");
    await screen.findByText("One administrator must stay.");
  });

  it("adds a person and closes the dialog", async () => {
    const { server, user } = open();
    await user.click(await screen.findByRole("button", { name: "Add a person" }));
    const add = await screen.findByRole<HTMLButtonElement>("button", { name: "Add" });
    expect(add.disabled).toBe(true);
    await user.type(screen.getByLabelText(/User name/), "eve");
    await user.type(screen.getByLabelText("Name"), " Eve ");
    await user.type(screen.getByLabelText(/Password/), "a long password");
    await user.click(add);
    await screen.findByText(/Eve can sign in now/);
    expect(server.bodies("POST /users")).toEqual([
      { username: "eve", name: "Eve", password: "a long password", role: "user" },
    ]);
    await waitFor(() => expect(screen.queryByRole("button", { name: "Add" })).toBeNull());
    await screen.findByText("eve");
  });

  it("keeps what was typed when the server refuses it", async () => {
    const { server, user } = open();
    server.set("POST /users", problem(409, "username_taken", "This user name is taken. Choose another one."));
    await user.click(await screen.findByRole("button", { name: "Add a person" }));
    await user.type(await screen.findByLabelText(/User name/), "bob");
    await user.type(screen.getByLabelText("Name"), "Bob");
    await user.type(screen.getByLabelText(/Password/), "a long password");
    await user.click(screen.getByRole("button", { name: "Add" }));
    await screen.findByText("This user name is taken. Choose another one.");
    expect(screen.getByLabelText<HTMLInputElement>(/User name/).value).toBe("bob");
    expect(screen.getByLabelText<HTMLInputElement>(/Password/).value).toBe("a long password");
  });
});
