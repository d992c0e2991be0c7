import { screen, waitFor, within } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import { renderApp } from "@/test/render";
import { type Call, fakeServer, page, problem } from "@/test/server";
import type { VersionListed } from "../queries";
import { VersionsPanel } from "./versions-panel";

function version(number: number, fields: Partial<VersionListed> = {}): VersionListed {
  return {
    id: `v${number}`,
    version_number: number,
    parent_version_number: number > 1 ? number - 1 : null,
    base_version_number: null,
    name: null,
    generation_source: "user",
    model_name: null,
    author: { id: "me", name: "Ana" },
    words: number * 10,
    created_at: "2026-11-22T12:00:00Z",
    ...fields,
  } as VersionListed;
}

const NEWEST_FIRST = [version(3), version(2), version(1)];

function open({ versions = NEWEST_FIRST, canWrite = true, routes = {}, onRestore = async () => {} } = {}) {
  let stored = versions;
  const server = fakeServer({
    "GET /drafts/d1/versions": () => page(stored),
    "PATCH /drafts/d1/versions/3": ({ body }: Call) => {
      stored = stored.map((item) => (item.version_number === 3 ? { ...item, ...(body as object) } : item));
      return stored[0];
    },
    ...routes,
  });
  const props = { onCompare: vi.fn(), onRestore: vi.fn(onRestore), onClose: vi.fn() };
  const view = renderApp(<VersionsPanel draftId="d1" canWrite={canWrite} currentNumber={3} {...props} />);
  return { server, ...props, ...view };
}

const row = (name: RegExp) => screen.findByRole("button", { name });
const actions = () =>
  screen
    .getAllByRole("button")
    .map((button) => button.textContent?.trim())
    .filter((label) => label && !/^Version|words/.test(label));

describe("the versions of a draft", () => {
  it.each([
    ["a person", {}, "Ana"],
    ["a model", { generation_source: "ai_generate", model_name: "gpt" }, "gpt"],
    ["a model that edited", { generation_source: "ai_edit", model_name: "gpt" }, "gpt · edits taken"],
    ["a merge", { base_version_number: 1 }, "Ana · merged"],
    ["a deleted person", { author: null }, "A person"],
  ])("says that %s created one", async (_, fields, words) => {
    open({ versions: [version(3, fields as Partial<VersionListed>)] });
    expect((await row(/Version 3/)).textContent).toContain(words);
  });

  it("opens the current one at first, and another by a click", async () => {
    const { user } = open();
    expect((await row(/Version 3/)).getAttribute("aria-expanded")).toBe("true");
    expect((await row(/Version 3/)).textContent).toContain("now");
    expect(actions()).toEqual(["What changed", "Name"]);
    await user.click(await row(/Version 1/));
    expect(actions()).toEqual(["Compare with now", "Restore", "Name"]);
  });

  it("walks with the arrow keys, Home and End", async () => {
    const { user } = open();
    (await row(/Version 3/)).focus();
    await user.keyboard("{ArrowDown}");
    expect(document.activeElement).toBe(await row(/Version 2/));
    await user.keyboard("{End}");
    expect(document.activeElement).toBe(await row(/Version 1/));
    await user.keyboard("{ArrowDown}{Home}");
    expect(document.activeElement).toBe(await row(/Version 3/));
  });

  it("compares with the current version, and with the one before", async () => {
    const { user, onCompare } = open();
    await user.click(await row(/Version 2/));
    await user.click(screen.getByRole("button", { name: "Compare with now" }));
    expect(onCompare).toHaveBeenLastCalledWith(3, 2);
    await user.click(screen.getByRole("button", { name: "What changed" }));
    expect(onCompare).toHaveBeenLastCalledWith(2, 1);
  });

  it("restores an older version, and says why it could not", async () => {
    const { user, onRestore } = open({ onRestore: () => Promise.reject(new Error("no")) });
    await user.click(await row(/Version 1/));
    await user.click(screen.getByRole("button", { name: "Restore" }));
    expect(onRestore).toHaveBeenCalledWith(1);
    await screen.findByText(/Something went wrong/);
  });

  it("names a version", async () => {
    const { server, user } = open();
    await user.click(await screen.findByRole("button", { name: "Name" }));
    await user.type(
      await screen.findByRole("textbox", { name: "Name of version 3" }),
      " For the editor {Enter}",
    );
    await row(/For the editor/);
    expect(server.bodies("PATCH /drafts/d1/versions/3")).toEqual([{ name: "For the editor" }]);
  });

  it("leaves a version without a name on Escape", async () => {
    const { server, user } = open();
    await user.click(await screen.findByRole("button", { name: "Name" }));
    await user.type(await screen.findByRole("textbox", { name: "Name of version 3" }), "x{Escape}");
    await row(/Version 3/);
    expect(server.bodies("PATCH /drafts/d1/versions/3")).toEqual([]);
  });

  it("offers only comparison to a reader", async () => {
    const { user } = open({ canWrite: false });
    await user.click(await row(/Version 1/));
    expect(actions()).toEqual(["Compare with now"]);
  });

  it("loads older versions on request", async () => {
    const { user } = open({
      routes: {
        "GET /drafts/d1/versions": ({ query }: Call) =>
          query.get("cursor") ? page([version(1)]) : page([version(3), version(2)], "next"),
      },
    });
    await user.click(await screen.findByRole("button", { name: "Show older ones" }));
    await row(/Version 1/);
    expect(within(screen.getByRole("list")).getAllByRole("listitem")).toHaveLength(3);
  });

  it("offers to try again", async () => {
    const { server, user } = open({
      routes: {
        "GET /drafts/d1/versions": problem(503, "storage_unavailable", "The database does not answer."),
      },
    });
    await screen.findByText("The database does not answer.");
    server.set("GET /drafts/d1/versions", page(NEWEST_FIRST));
    await user.click(screen.getByRole("button", { name: "Try again" }));
    await waitFor(async () => expect(await row(/Version 2/)).toBeTruthy());
  });
});
