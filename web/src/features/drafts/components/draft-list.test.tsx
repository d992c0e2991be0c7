import { screen, waitFor } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import { renderApp } from "@/test/render";
import { type Call, fakeServer, page, problem } from "@/test/server";
import type { Listed } from "../queries";
import { AttachDraft, AttachedDrafts } from "./attached-drafts";
import { CompareVersions } from "./compare-versions";
import { DraftList, SharedDrafts } from "./draft-list";
import { OverlapDialog } from "./overlap-dialog";

function makeListed(fields: Partial<Listed> = {}): Listed {
  return {
    id: "d1",
    title: "Letter",
    words: 120,
    version_count: 2,
    owner: null,
    updated_at: "2026-11-22T12:00:00Z",
    ...fields,
  } as Listed;
}

describe("the list of drafts", () => {
  it("links each draft with its size", async () => {
    fakeServer({
      "GET /drafts": page([makeListed(), makeListed({ id: "d2", title: "", version_count: 1 })]),
    });
    renderApp(<DraftList />);
    const [first, second] = await screen.findAllByRole("link");
    expect(first?.getAttribute("href")).toBe("/d/d1");
    expect(first?.textContent).toContain("120 words · 2 versions");
    expect(second?.textContent).toMatch(/^Untitled.*1 version$/);
  });

  it("deletes a draft and restores it by undo", async () => {
    let drafts = [makeListed()];
    fakeServer({
      "GET /drafts": () => page(drafts),
      "DELETE /drafts/d1": () => {
        drafts = [];
        return null;
      },
      "POST /drafts/d1/restore": () => {
        drafts = [makeListed()];
        return drafts[0];
      },
    });
    const { user } = renderApp(<DraftList />);
    await user.click(await screen.findByRole("button", { name: "Delete Letter" }));
    await screen.findByText(/No draft yet/);
    await user.click(screen.getByRole("button", { name: "Undo" }));
    await screen.findByRole("link", { name: /Letter/ });
  });

  it("opens nothing in the trash, and restores", async () => {
    const server = fakeServer({ "GET /drafts": page([makeListed()]), "POST /drafts/d1/restore": {} });
    const { user } = renderApp(<DraftList isTrash />);
    await user.click(await screen.findByRole("button", { name: "Restore Letter" }));
    expect(screen.queryByRole("link")).toBeNull();
    await waitFor(() => expect(server.bodies("POST /drafts/d1/restore")).toHaveLength(1));
    expect(server.calls[0]?.query.get("trash")).toBe("true");
  });

  it("shows the drafts of others without a way to delete them", async () => {
    fakeServer({ "GET /shared-drafts": page([makeListed({ owner: { id: "bob", name: "Bob" } })]) });
    renderApp(<SharedDrafts />);
    expect((await screen.findByRole("link")).textContent).toContain("Bob · 120 words");
    expect(screen.queryByRole("button")).toBeNull();
  });
});

describe("the drafts of a chat", () => {
  it("are listed, and removed", async () => {
    let attached = [makeListed()];
    fakeServer({
      "GET /chats/c1/drafts": () => page(attached),
      "DELETE /chats/c1/drafts/d1": () => {
        attached = [];
        return null;
      },
    });
    const { user } = renderApp(<AttachedDrafts chatId="c1" />);
    await user.click(await screen.findByRole("button", { name: "Take Letter away" }));
    await waitFor(() => expect(screen.queryByText("Letter")).toBeNull());
  });

  async function chooser(routes: object = {}) {
    const server = fakeServer({
      "GET /drafts": page([makeListed(), makeListed({ id: "d2", title: "Novel" })]),
      "GET /shared-drafts": page([makeListed({ id: "d3", title: "Minutes" })]),
      "GET /chats/c1/drafts": page([makeListed()]),
      "PUT /chats/c1/drafts/d2": page([]),
      ...routes,
    });
    const view = renderApp(<AttachDraft chatId="c1" />);
    await view.user.click(await screen.findByRole("button", { name: "Attach a draft" }));
    await screen.findByRole("dialog");
    return { server, ...view };
  }

  it("are chosen from all that are not attached yet, found by their title", async () => {
    const { server, user } = await chooser();
    await screen.findByRole("button", { name: /Minutes/ });
    expect(screen.queryByRole("button", { name: /Letter/ })).toBeNull();
    await user.type(screen.getByRole("searchbox"), "NOV");
    expect(screen.queryByRole("button", { name: /Minutes/ })).toBeNull();
    await user.click(screen.getByRole("button", { name: /Novel/ }));
    await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
    expect(server.bodies("PUT /chats/c1/drafts/d2")).toHaveLength(1);
  });

  it("stay open with a reason when one is refused", async () => {
    const { user } = await chooser({
      "PUT /chats/c1/drafts/d2": problem(422, "too_many_drafts", "Five drafts are enough."),
    });
    await user.click(await screen.findByRole("button", { name: /Novel/ }));
    await screen.findByText("Five drafts are enough.");
    await user.type(screen.getByRole("searchbox"), "zebra");
    screen.getByText("No draft has this title.");
  });
});

describe("the comparison of two versions", () => {
  function compare(pieces: object[]) {
    const server = fakeServer({
      "GET /drafts/d1/versions/3/diff": ({ query }: Call) => ({ pieces, against: query.get("against") }),
    });
    return {
      server,
      ...renderApp(<CompareVersions draftId="d1" number={3} against={1} newest={3} onClose={vi.fn()} />),
    };
  }
  const PIECES = [
    { kind: "same", text: "One " },
    { kind: "removed", text: "two" },
    { kind: "added", text: "2" },
    { kind: "added", text: "\n" },
  ];

  it("shows both sides, or one text", async () => {
    const { server, user } = compare(PIECES);
    expect((await screen.findByRole("region", { name: "Version 1" })).textContent).toBe("One two");
    expect(screen.getByRole("region", { name: "Version 3" }).textContent).toBe("One 2¶\n");
    await user.click(screen.getByRole("button", { name: "In one text" }));
    expect(screen.getByRole("region", { name: "Both in one text" }).textContent).toBe("One two2¶\n");
    expect(server.calls[0]?.query.get("against")).toBe("1");
  });

  it("says that two versions are the same", async () => {
    compare([{ kind: "same", text: "One" }]);
    await screen.findByText("These two are the same.");
  });
});

describe("a conflict", () => {
  const overlap = (mine: string, theirs: string) => ({
    kind: "overlap" as const,
    base: "blue",
    mine,
    theirs,
  });
  const same = (text: string) => ({ kind: "same" as const, text });

  function open(merged: Parameters<typeof OverlapDialog>[0]["merged"]) {
    const onResolve = vi.fn();
    return {
      onResolve,
      ...renderApp(<OverlapDialog merged={merged} onResolve={onResolve} onClose={vi.fn()} />),
    };
  }
  const save = () => screen.getByRole<HTMLButtonElement>("button", { name: "Save this" });

  it.each([
    [/^Here/, "The red sky."],
    [/^Elsewhere/, "The green sky."],
    [/Both/, "The red green sky."],
  ])("is resolved by %s", async (name, text) => {
    const { user, onResolve } = open([same("The "), overlap("red", "green"), same(" sky.")]);
    await screen.findByText("Instead of “blue”");
    expect(save().disabled).toBe(true);
    await user.click(screen.getByRole("button", { name }));
    await user.click(save());
    expect(onResolve).toHaveBeenCalledWith(text);
  });

  it("needs a choice at each place, and shows what would be removed", async () => {
    const { user, onResolve } = open([overlap("red", ""), same(" and "), overlap("a", "b")]);
    await screen.findByText(/In 2 places/);
    await user.click(screen.getByRole("button", { name: "Elsewhere (taken away)" }));
    expect(save().disabled).toBe(true);
    await user.click(screen.getByRole("button", { name: "Here a" }));
    await user.click(save());
    expect(onResolve).toHaveBeenCalledWith(" and a");
  });

  it("leaves out the middle of a long unchanged text", async () => {
    open([overlap("a", "b"), same(`${"x".repeat(300)}MIDDLE${"y".repeat(300)}`), overlap("c", "d")]);
    const text = (await screen.findByText(/^x+ … y+$/)).textContent ?? "";
    expect(text).toHaveLength(483);
  });
});
