import { screen, waitFor } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { makeChat } from "@/test/factories";
import { chooseEntry, renderApp } from "@/test/render";
import { type Call, fakeServer, page, problem } from "@/test/server";
import { AllChats } from "./all-chats";

const CHATS = ["Bread", "Cake", "Pie"].map((title, n) => makeChat({ id: `c${n}`, title }));

/** A server with three chats that accepts every change. */
function open(shown: "active" | "archived" | "trash" = "active", routes: object = {}) {
  const every: Record<string, object | null> = {};
  for (const chat of CHATS) {
    every[`PATCH /chats/${chat.id}`] = ({ body }: Call) => ({ ...chat, ...(body as object) });
    every[`DELETE /chats/${chat.id}`] = null;
    every[`POST /chats/${chat.id}/restore`] = chat;
    every[`PUT /chats/${chat.id}/tags/t1`] = { ...chat, tag_ids: ["t1"] };
  }
  const server = fakeServer({
    "GET /chats": page(
      shown === "trash" ? CHATS.map((chat) => ({ ...chat, deleted_at: chat.created_at })) : CHATS,
    ),
    "GET /tags": { items: [{ id: "t1", name: "Sweet", colour: "red" }] },
    ...every,
    ...routes,
  });
  const changes = () =>
    server.calls.filter((call) => call.method !== "GET").map((call) => `${call.method} ${call.path}`);
  return { server, changes, ...renderApp(<AllChats shown={shown} />) };
}

const tick = (name: string) => screen.findByRole("checkbox", { name });
const status = () => screen.getByText(/chosen|Choose chats|done/).textContent;

describe("many chats at once", () => {
  it("counts what is chosen, and offers nothing before", async () => {
    const { user } = open();
    await tick("Choose Bread");
    expect(status()).toBe("Choose chats to deal with them together");
    expect(screen.queryByRole("button", { name: "Delete" })).toBeNull();
    await user.click(await tick("Choose Bread"));
    await user.click(await tick("Choose Pie"));
    expect(status()).toBe("2 chosen");
    await user.click(await tick("Choose Pie"));
    expect(status()).toBe("1 chosen");
  });

  it("chooses all that are shown, and none again", async () => {
    const { user } = open();
    await user.click(await tick("Choose all that are shown"));
    expect(status()).toBe("3 chosen");
    await user.click(await tick("Choose all that are shown"));
    expect(status()).toBe("Choose chats to deal with them together");
  });

  it("deletes what is chosen, and brings it all back by undo", async () => {
    const { user, changes } = open();
    await user.click(await tick("Choose Bread"));
    await user.click(await tick("Choose Cake"));
    await user.click(screen.getByRole("button", { name: "Delete" }));
    await screen.findByText("2 deleted.");
    expect(screen.queryByText("Bread")).toBeNull();
    expect(screen.getByText("Pie")).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "Undo" }));
    await screen.findByText("Bread");
    expect(changes().toSorted()).toEqual([
      "DELETE /chats/c0",
      "DELETE /chats/c1",
      "POST /chats/c0/restore",
      "POST /chats/c1/restore",
    ]);
  });

  it("archives what is chosen and takes it out again by undo", async () => {
    const { server, user } = open();
    await user.click(await tick("Choose Bread"));
    await user.click(screen.getByRole("button", { name: "Archive" }));
    await screen.findByText("1 archived.");
    await user.click(screen.getByRole("button", { name: "Undo" }));
    await waitFor(() =>
      expect(server.bodies("PATCH /chats/c0")).toEqual([{ is_archived: true }, { is_archived: false }]),
    );
  });

  it("keeps what failed chosen, and says why", async () => {
    const { user } = open("active", {
      "DELETE /chats/c1": problem(409, "conflict", "A reply is being written."),
    });
    await user.click(await tick("Choose all that are shown"));
    await user.click(screen.getByRole("button", { name: "Delete" }));
    await screen.findByText("1 could not be changed. A reply is being written.");
    await screen.findByText("2 deleted.");
    expect(status()).toBe("1 chosen");
    expect((await tick("Choose Cake")).getAttribute("aria-checked")).toBe("true");
  });

  it("gives a tag to all that are chosen", async () => {
    const { user, changes } = open();
    await user.click(await tick("Choose all that are shown"));
    await chooseEntry(user, "Tag", "Sweet");
    await waitFor(() => expect(changes()).toHaveLength(3));
    expect(changes().toSorted()).toEqual(CHATS.map((chat) => `PUT /chats/${chat.id}/tags/t1`));
  });

  it("restores what is chosen in the trash, where nothing can be opened", async () => {
    const { user, changes } = open("trash");
    await user.click(await tick("Choose Cake"));
    expect(screen.queryByRole("link")).toBeNull();
    await user.click(screen.getByRole("button", { name: "Restore" }));
    await waitFor(() => expect(changes()).toEqual(["POST /chats/c1/restore"]));
    await waitFor(() => expect(screen.queryByText("Cake")).toBeNull());
  });

  it.each([
    ["active", "No chats"],
    ["archived", "No chats"],
    ["trash", "The trash is empty"],
  ] as const)("says that there are none in %s", async (shown, words) => {
    open(shown, { "GET /chats": page([]) });
    await screen.findByRole("heading", { name: words });
  });
});
