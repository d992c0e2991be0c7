import { screen } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { makeUser } from "@/test/factories";
import { newClient, renderApp } from "@/test/render";
import { fakeServer, problem } from "@/test/server";
import { meQuery } from "../queries";
import { DeleteAccount, DeletionNotice } from "./delete-account";

const SOON = "2026-12-06T12:00:00Z";

function show(routes: Record<string, object | null>, deletes_at: string | null = null) {
  const server = fakeServer(routes);
  const client = newClient();
  client.setQueryData(meQuery.queryKey, makeUser({ deletes_at }));
  const view = renderApp(
    <>
      <DeletionNotice link={<a href="/keep">Keep it</a>} />
      <DeleteAccount dataLink={<a href="/data">Export your chats</a>} />
    </>,
    client,
  );
  return { ...view, server };
}

describe("deleting the account", () => {
  it("takes the password, and can be undone", async () => {
    const { user, server } = show({
      "DELETE /me": makeUser({ deletes_at: SOON }),
      "POST /me/restore": makeUser({ deletes_at: null }),
    });
    await user.click(await screen.findByRole("button", { name: "Delete my account" }));
    screen.getByRole("link", { name: "Export your chats" });
    await user.type(await screen.findByLabelText("Password"), "a long password");
    await user.click(screen.getByRole("button", { name: "Delete in seven days" }));
    expect(await screen.findByRole("status")).toHaveProperty(
      "textContent",
      "Your account is deleted on Dec 6, 2026. Keep it",
    );
    expect(server.calls[0]).toMatchObject({ body: { password: "a long password" } });
    await user.click(screen.getByRole("button", { name: "Keep my account" }));
    await screen.findByText("Your account is kept.");
    expect(screen.queryByText(/is deleted on/)).toBeNull();
  });

  it("keeps the form when the password is wrong", async () => {
    const { user } = show({ "DELETE /me": problem(422, "wrong_password", "The password is wrong.") });
    await user.click(await screen.findByRole("button", { name: "Delete my account" }));
    await user.type(await screen.findByLabelText("Password"), "wrong");
    await user.click(screen.getByRole("button", { name: "Delete in seven days" }));
    await screen.findByText("The password is wrong.");
    expect(screen.getByLabelText("Password")).toHaveProperty("value", "wrong");
  });
});
