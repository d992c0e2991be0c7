import { screen, waitFor } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import type { Schemas } from "@/api/client";
import { makeChat } from "@/test/factories";
import { chooseEntry, renderApp } from "@/test/render";
import { type Call, fakeServer, problem } from "@/test/server";
import { TagDialog } from "./tag-dialog";

type Tag = Schemas["TagRead"];
const tag = (id: string, name: string, colour: Tag["colour"] = "grey") => ({ id, name, colour }) as Tag;

/** A server that stores tags and which of them the chat has. */
function open(stored = [tag("t1", "Work"), tag("t2", "Home", "green")], own = ["t1"]) {
  let tags = stored;
  let tagIds = own;
  const set = (id: string, isOn: boolean) => () => {
    tagIds = isOn ? [...tagIds, id] : tagIds.filter((other) => other !== id);
    return makeChat({ tag_ids: tagIds });
  };
  const routes: Record<string, object> = {
    "GET /tags": () => ({ items: tags }),
    "POST /tags": ({ body }: Call) => {
      const created = tag("t9", (body as Tag).name, (body as Tag).colour);
      tags = [...tags, created];
      return created;
    },
    "POST /tags/t1/merge": () => {
      tags = tags.filter((item) => item.id !== "t1");
      return tags[0];
    },
  };
  for (const { id } of [...stored, tag("t9", "")]) {
    routes[`PUT /chats/c1/tags/${id}`] = set(id, true);
    routes[`DELETE /chats/c1/tags/${id}`] = set(id, false);
    routes[`PATCH /tags/${id}`] = ({ body }: Call) => {
      tags = tags.map((item) => (item.id === id ? { ...item, ...(body as Tag) } : item));
      return tags.find((item) => item.id === id);
    };
    routes[`DELETE /tags/${id}`] = () => {
      tags = tags.filter((item) => item.id !== id);
      return null;
    };
    routes[`POST /tags/${id}/restore`] = () => {
      tags = [...tags, ...stored.filter((item) => item.id === id)];
      return tags.at(-1);
    };
  }
  const server = fakeServer(routes);
  const onClose = vi.fn();
  const chat = makeChat({ tag_ids: own });
  return { server, onClose, ...renderApp(<TagDialog chat={chat} onClose={onClose} />) };
}

const box = (name: string) => screen.findByRole("checkbox", { name });
const isOn = async (name: string) => (await box(name)).getAttribute("aria-checked") === "true";

describe("the tags of a chat", () => {
  it("shows which the chat has", async () => {
    open();
    expect([await isOn("Work"), await isOn("Home")]).toEqual([true, false]);
  });

  it("adds and removes a tag", async () => {
    const { server, user } = open();
    await user.click(await box("Home"));
    await waitFor(async () => expect(await isOn("Home")).toBe(true));
    await user.click(await box("Work"));
    await waitFor(async () => expect(await isOn("Work")).toBe(false));
    expect(
      server.calls.filter((call) => call.method !== "GET").map((call) => `${call.method} ${call.path}`),
    ).toEqual(["PUT /chats/c1/tags/t2", "DELETE /chats/c1/tags/t1"]);
  });

  it("creates a tag with its colour and gives it to the chat", async () => {
    const { server, user } = open();
    const name = await screen.findByRole<HTMLInputElement>("textbox", { name: "Name of a new tag" });
    const add = screen.getByRole<HTMLButtonElement>("button", { name: "Add" });
    expect(add.disabled).toBe(true);
    await user.type(name, " Travel ");
    await user.click(screen.getByRole("button", { name: "blue" }));
    await user.click(add);
    expect(await isOn("Travel")).toBe(true);
    expect(server.bodies("POST /tags")).toEqual([{ name: "Travel", colour: "blue" }]);
    expect(name.value).toBe("");
  });

  it("says why a tag was refused", async () => {
    const { server, user } = open();
    server.set("POST /tags", problem(409, "tag_exists", "You have a tag with this name."));
    await user.type(await screen.findByRole("textbox", { name: "Name of a new tag" }), "Work");
    await user.click(screen.getByRole("button", { name: "Add" }));
    await screen.findByText("You have a tag with this name.");
  });

  it("renames a tag", async () => {
    const { server, user } = open();
    await chooseEntry(user, "Actions for the tag Work", "Rename or colour");
    const name = await screen.findByRole<HTMLInputElement>("textbox", { name: "Name of the tag" });
    expect(name.value).toBe("Work");
    await user.clear(name);
    await user.type(name, "Office{Enter}");
    await box("Office");
    expect(server.bodies("PATCH /tags/t1")).toEqual([{ name: "Office", colour: "grey" }]);
  });

  it("merges a tag into another", async () => {
    const { server, user } = open();
    await chooseEntry(user, "Actions for the tag Work", "Merge into Home");
    await waitFor(() => expect(screen.queryByRole("checkbox", { name: "Work" })).toBeNull());
    expect(server.bodies("POST /tags/t1/merge")).toEqual([{ into_id: "t2" }]);
  });

  it("deletes a tag and brings it back by undo", async () => {
    const { user } = open();
    await chooseEntry(user, "Actions for the tag Home", "Delete");
    await waitFor(() => expect(screen.queryByRole("checkbox", { name: "Home" })).toBeNull());
    await user.click(await screen.findByRole("button", { name: "Undo" }));
    await box("Home");
  });
});
