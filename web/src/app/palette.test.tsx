import { screen, waitFor } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import { renderApp } from "@/test/render";
import { fakeServer, page } from "@/test/server";
import { Palette } from "./palette";

const hit = (fields: object) => ({
  chat: { id: "c1", title: "About bread", is_archived: false },
  message: null,
  attachment: null,
  draft: null,
  by: "words",
  snippet: [],
  ...fields,
});

function open(items: object[] = []) {
  const server = fakeServer({ "GET /search": page(items), "GET /projects": page([]) });
  const props = { onClose: vi.fn(), showShortcuts: vi.fn() };
  return { server, ...props, ...renderApp(<Palette {...props} />) };
}

const options = () => screen.getAllByRole("option").map((option) => option.textContent);
const chosen = () =>
  screen.getAllByRole("option").find((option) => option.getAttribute("aria-selected") === "true")
    ?.textContent;

describe("the palette", () => {
  it("lists every page and asks the server for nothing but the projects", async () => {
    const { server } = open();
    await screen.findByRole("combobox");
    expect(options()).toContain("Drafts");
    expect(options()).toContain("Shortcuts?");
    expect(server.calls.map((call) => call.path)).toEqual(["/projects"]);
  });

  it("walks with the arrows, from the last to the first", async () => {
    const { user } = open();
    await screen.findByRole("combobox");
    const [first, second] = options();
    expect(chosen()).toBe(first);
    await user.keyboard("{ArrowDown}");
    expect(chosen()).toBe(second);
    await user.keyboard("{ArrowUp}{ArrowUp}");
    expect(chosen()).toBe(options().at(-1));
  });

  it("goes where Enter says, and closes", async () => {
    const { user, onClose, address } = open();
    await user.type(await screen.findByRole("combobox"), "files");
    await waitFor(() => expect(options()[0]).toBe("Files"));
    await user.keyboard("{Enter}");
    expect(onClose).toHaveBeenCalledOnce();
    await waitFor(() => expect(address()).toBe("/files"));
  });

  it("finds chats, archived ones and drafts, and each only once", async () => {
    const { user } = open([
      hit({ message: { id: "m1" } }),
      hit({}),
      hit({ chat: { id: "c2", title: "Old bread", is_archived: true } }),
      hit({ draft: { id: "d1", title: "" } }),
    ]);
    await user.type(await screen.findByRole("combobox"), "bread");
    await screen.findByText("About bread");
    expect(options()).toEqual([
      "About breadchat",
      "Old breadarchived",
      "Untitleddraft",
      "Search for “bread”",
    ]);
  });

  it("opens the chat or the draft that is clicked", async () => {
    const { user, address } = open([hit({ draft: { id: "d1", title: "Letter" } })]);
    await user.type(await screen.findByRole("combobox"), "zz");
    await user.click(await screen.findByText("Letter"));
    await waitFor(() => expect(address()).toBe("/d/d1"));
  });

  it("searches for what was typed", async () => {
    const { user, address } = open();
    await user.type(await screen.findByRole("combobox"), "zz top ");
    await user.click(await screen.findByText("Search for “zz top”"));
    await waitFor(() => expect(address()).toBe("/search?q=zz+top"));
  });

  it("shows the shortcuts", async () => {
    const { user, showShortcuts } = open();
    await user.click(await screen.findByText("Shortcuts"));
    expect(showShortcuts).toHaveBeenCalledOnce();
  });

  it("closes on Escape", async () => {
    const { user, onClose } = open();
    await screen.findByRole("combobox");
    await user.keyboard("{Escape}");
    expect(onClose).toHaveBeenCalledOnce();
  });
});
