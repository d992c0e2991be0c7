import { act, screen, waitFor, within } from "@testing-library/react";
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { Schemas } from "@/api/client";
import { makeMessage, makeReply } from "@/test/factories";
import { chooseEntry, renderApp } from "@/test/render";
import { fakeServer } from "@/test/server";
import type { Message } from "../reducer";
import { MessageRow } from "./message-row";

const names = [
  "edit",
  "react",
  "setRule",
  "regenerate",
  "continueReply",
  "showSibling",
  "fork",
  "remove",
  "compare",
  "askOthers",
  "showHistory",
  "openThread",
  "toDraft",
] as const;

function makeActions() {
  return Object.fromEntries(names.map((name) => [name, vi.fn(async () => undefined)])) as unknown as Record<
    (typeof names)[number],
    ReturnType<typeof vi.fn<(...values: never[]) => Promise<void>>>
  >;
}

type Shown = { isOwn?: boolean; canWrite?: boolean; isEditing?: boolean; meId?: string; isChannel?: boolean };

function show(message: Message, props: Shown = {}) {
  const actions = makeActions();
  const onEdit = vi.fn();
  const view = renderApp(
    <MessageRow
      message={message}
      meId={props.meId ?? "me"}
      isOwn={props.isOwn ?? true}
      isChannel={props.isChannel}
      canWrite={props.canWrite ?? true}
      actions={actions as never}
      isEditing={props.isEditing ?? false}
      onEdit={onEdit}
      waitingWords={() => "Waiting for the first words …"}
    />,
  );
  return { ...view, actions, onEdit };
}

const openMore = async (user: ReturnType<typeof show>["user"]) => {
  await user.click(await screen.findByRole("button", { name: "More" }));
  return screen.findAllByRole("menuitem");
};

beforeEach(() => {
  fakeServer({});
});

describe("a person's message", () => {
  it("shows the text as typed, not as Markdown", async () => {
    show(makeMessage({ content: "**not bold**\nsecond line" }));
    expect(await screen.findByText(/\*\*not bold\*\*/)).toBeTruthy();
    expect(document.querySelector("strong")).toBeNull();
  });

  it("is named after its author when somebody else wrote it", async () => {
    show(makeMessage({ user: { id: "bob", name: "Bob" } }));
    expect(await screen.findByRole("article", { name: "Bob" })).toBeTruthy();
    expect(screen.getByText("Bob")).toBeTruthy();
  });

  it("does not repeat the reader's own name", async () => {
    show(makeMessage({ user: { id: "me", name: "Ana" } }));
    await screen.findByRole("article", { name: "Ana" });
    expect(screen.queryByText("Ana")).toBeNull();
  });

  it("folds beyond 3,000 characters and unfolds on request", async () => {
    const { user } = show(makeMessage({ content: "x".repeat(3001) }));
    await user.click(await screen.findByRole("button", { name: "Show all 3,001 characters" }));
    await user.click(screen.getByRole("button", { name: "Show less" }));
    expect(screen.getByRole("button", { name: "Show all 3,001 characters" })).toBeTruthy();
  });

  it("is not folded at exactly 3,000 characters", async () => {
    show(makeMessage({ content: "x".repeat(3000) }));
    await screen.findByRole("article");
    expect(screen.queryByRole("button", { name: /Show all/ })).toBeNull();
  });

  it("can be edited", async () => {
    const message = makeMessage();
    const { user, onEdit } = show(message);
    await user.click(await screen.findByRole("button", { name: "Edit" }));
    expect(onEdit).toHaveBeenCalledWith(message.id);
  });
});

describe("editing", () => {
  it("starts with the own text and sends the new one as a new version", async () => {
    const message = makeMessage({ content: "first" });
    const { user, actions, onEdit } = show(message, { isEditing: true });
    const box = await screen.findByRole("textbox", { name: "Edit your message" });
    expect(box).toHaveProperty("value", "first");
    await user.clear(box);
    await user.type(box, "second{Enter}");
    await waitFor(() => expect(actions.edit).toHaveBeenCalledWith(message, "second", false));
    expect(onEdit).toHaveBeenCalledWith(undefined);
  });

  it("keeps what was typed when saving fails, and says why", async () => {
    const { user, actions, onEdit } = show(makeMessage({ content: "first" }), { isEditing: true });
    actions.edit.mockRejectedValue(new Error("boom"));
    const box = await screen.findByRole("textbox");
    await user.type(box, " and more{Enter}");
    expect((await screen.findByRole("alert")).textContent).toContain("Something went wrong");
    expect(box).toHaveProperty("value", "first and more");
    expect(onEdit).not.toHaveBeenCalled();
  });

  it("changes the message in place on request", async () => {
    const message = makeMessage({ content: "first" });
    const { user, actions } = show(message, { isEditing: true });
    await user.click(await screen.findByRole("button", { name: "Only save" }));
    expect(actions.edit).toHaveBeenCalledWith(message, "first", true);
  });

  it("ends with Escape", async () => {
    const { user, onEdit } = show(makeMessage(), { isEditing: true });
    await user.type(await screen.findByRole("textbox"), "{Escape}");
    expect(onEdit).toHaveBeenCalledWith(undefined);
  });

  it("does not send an empty text", async () => {
    const { user, actions } = show(makeMessage({ content: "x" }), { isEditing: true });
    const box = await screen.findByRole("textbox");
    await user.clear(box);
    await user.type(box, "{Enter}");
    expect(actions.edit).not.toHaveBeenCalled();
    expect(screen.getByRole("button", { name: "Send" })).toHaveProperty("disabled", true);
  });
});

describe("a reply", () => {
  it("shows what it used and cost", async () => {
    show(
      makeReply({
        model_name: "gpt-5",
        cost: "0.012",
        usage: {
          input_tokens: 900,
          output_tokens: 100,
          total_tokens: 1000,
          cached_tokens: 0,
          estimated: false,
        },
      }),
    );
    expect(await screen.findByText(/1,000 tokens · \$0\.012/)).toBeTruthy();
  });

  it("calls an unknown cost unknown, and an estimate an estimate", async () => {
    show(
      makeReply({
        usage: { input_tokens: 9, output_tokens: 1, total_tokens: 10, cached_tokens: 0, estimated: true },
      }),
    );
    expect(await screen.findByText(/about 10 tokens · cost unknown/)).toBeTruthy();
  });

  it("says how it was interrupted, and offers to continue or retry", async () => {
    const message = makeReply({ status: "interrupted" });
    const { user, actions } = show(message);
    expect(await screen.findByText("This reply was interrupted.")).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "Continue" }));
    expect(actions.continueReply).toHaveBeenCalledWith(message);
    await user.click(screen.getByRole("button", { name: "Retry" }));
    expect(actions.regenerate).toHaveBeenCalledWith(message);
  });

  it("shows the provider's error as an alert, and no Continue when nothing was written", async () => {
    show(
      makeReply({
        status: "error",
        content: "",
        parts: [],
        error: {
          code: "rate_limited",
          message: "The provider is busy.",
          timestamp: "2026-11-22T12:00:00Z",
        } as never,
      }),
    );
    expect((await screen.findByRole("alert")).textContent).toContain("The provider is busy.");
    expect(screen.queryByRole("button", { name: "Continue" })).toBeNull();
    expect(screen.getByRole("button", { name: "Retry" })).toBeTruthy();
  });

  it("says when it stopped at its longest length", async () => {
    show(makeReply({ finish_reason: "length" }));
    expect(await screen.findByText(/reached its longest length/)).toBeTruthy();
  });

  it.each([
    [1, "The oldest message did not fit"],
    [1200, "The 1,200 oldest messages did not fit"],
  ])("says that %i messages were left out", async (left_out, text) => {
    show(makeReply({ left_out }));
    expect(await screen.findByText(new RegExp(text))).toBeTruthy();
  });

  it("says that the provider stopped a reply, unless the model says why", async () => {
    const view = show(makeReply({ finish_reason: "content_filter" }));
    expect(await screen.findByText("The provider stopped the reply here by its rules.")).toBeTruthy();
    view.unmount();
    show(
      makeReply({
        finish_reason: "content_filter",
        parts: [{ type: "refusal", text: "I cannot help with this." }],
      }),
    );
    await screen.findByText(/I cannot help with this/);
    expect(screen.queryByText("The provider stopped the reply here by its rules.")).toBeNull();
  });

  it.each([
    [{ kind: "file", name: "long.txt", amount: 57_300 }, "57,300 characters of long.txt had no room"],
    [
      { kind: "result", name: "fetch_page", amount: 1 },
      "One character of what fetch_page returned had no room",
    ],
    [{ kind: "picture", amount: 2 }, "2 pictures did not fit or cannot be seen"],
    [{ kind: "picture", amount: 1 }, "One picture did not fit or cannot be seen"],
    [{ kind: "system", amount: 1000 }, "1,000 characters of the instructions had no room"],
    [{ kind: "draft", name: "Letter", amount: 20 }, "20 characters of Letter had no room"],
    [{ kind: "summary", amount: 20 }, "20 characters of the summary had no room"],
    [{ kind: "state", amount: 20 }, "20 characters of what is kept of this chat had no room"],
    [{ kind: "message", amount: 20 }, "20 characters of messages had no room"],
  ] as [Schemas["OmissionRead"], string][])("says what was missing: %o", async (omission, words) => {
    show(makeReply({ omissions: [omission] }));
    expect(await screen.findByText(`${words} and did not reach the model.`)).toBeTruthy();
  });

  it("waits with a label until the first token, then shows what arrives", async () => {
    const { tellRun } = show(makeReply({ status: "streaming", content: "", parts: [] }));
    expect(await screen.findByText("Waiting for the first words …")).toBeTruthy();
    act(() => {
      tellRun("r1", { type: "run.started", message_id: "m", run_id: "r1" } as never);
      tellRun("r1", { type: "text.delta", message_id: "m", part_index: 0, text: "Yeast " } as never);
      tellRun("r1", { type: "text.delta", message_id: "m", part_index: 0, text: "makes gas." } as never);
    });
    expect(await screen.findByText("Yeast makes gas.")).toBeTruthy();
    expect(screen.queryByText("Waiting for the first words …")).toBeNull();
  });

  it("follows no run once it is finished", async () => {
    const { followed } = show(makeReply());
    await screen.findByRole("article");
    expect(followed()).toEqual([]);
  });
});

describe("versions", () => {
  const message = makeReply({ id: "b", sibling_ids: ["a", "b", "c"] });

  it("are counted, and the next and previous can be shown", async () => {
    const { user, actions } = show(message);
    expect(await screen.findByText("2/3")).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "Previous version" }));
    expect(actions.showSibling).toHaveBeenCalledWith("a");
    await user.click(screen.getByRole("button", { name: "Next version" }));
    expect(actions.showSibling).toHaveBeenCalledWith("c");
  });

  it("have no next at the last one", async () => {
    show({ ...message, id: "c" });
    expect(await screen.findByRole("button", { name: "Next version" })).toHaveProperty("disabled", true);
  });

  it("are not mentioned when there is one", async () => {
    show(makeReply());
    await screen.findByRole("article");
    expect(screen.queryByRole("navigation", { name: "Versions of this message" })).toBeNull();
  });
});

describe("reactions", () => {
  const message = makeReply({ reactions: [{ emoji: "👍", user_ids: ["me", "bob"] }] });

  it("show who reacted, and a press takes back one's own", async () => {
    const { user, actions } = show(message);
    const button = await screen.findByRole("button", { name: "👍, 2" });
    expect(button.getAttribute("aria-pressed")).toBe("true");
    await user.click(button);
    expect(actions.react).toHaveBeenCalledWith(message, "👍", false);
  });

  it("cannot be changed by a reader", async () => {
    const { user, actions } = show(message, { canWrite: false });
    await user.click(await screen.findByRole("button", { name: "👍, 2" }));
    expect(actions.react).not.toHaveBeenCalled();
  });

  it("are offered in a menu", async () => {
    const { user, actions } = show(makeReply({ id: "r" }));
    await chooseEntry(user, "React", "Heart");
    expect(actions.react).toHaveBeenCalledWith(expect.objectContaining({ id: "r" }), "❤️", true);
  });
});

describe("the menu", () => {
  it("offers a writer everything that can be done with a reply", async () => {
    const { user } = show(makeReply({ edited: true, sibling_ids: ["a", "b"], id: "b" }));
    expect((await openMore(user)).map((item) => item.textContent)).toEqual([
      "Ask other models",
      "Compare versions",
      "Reply in a thread",
      "Go on from here in a new chat",
      "To a draft",
      "Earlier wordings",
      "Change the wording",
      "Always send to models",
      "Never send to models",
      "Delete",
    ]);
  });

  it("offers a reader only what changes nothing", async () => {
    const { user } = show(makeReply(), { canWrite: false });
    expect((await openMore(user)).map((item) => item.textContent)).toEqual([
      "Reply in a thread",
      "Go on from here in a new chat",
      "To a draft",
    ]);
  });

  it.each([
    ["Reply in a thread", "openThread"],
    ["Go on from here in a new chat", "fork"],
    ["To a draft", "toDraft"],
    ["Always send to models", "setRule"],
    ["Delete", "remove"],
    ["Ask other models", "askOthers"],
  ] as const)("%s calls %s", async (label, action) => {
    const { user, actions } = show(makeReply());
    await chooseEntry(user, "More", label);
    expect(actions[action]).toHaveBeenCalledOnce();
  });

  it("takes back a pin", async () => {
    const message = makeMessage({ context_rule: "pinned" });
    const { user, actions } = show(message);
    await openMore(user);
    expect(screen.queryByRole("menuitem", { name: "Always send to models" })).toBeNull();
    await user.click(screen.getByRole("menuitem", { name: "Send to models as it fits" }));
    expect(actions.setRule).toHaveBeenCalledWith(message, "auto");
  });
});

describe("a message of a channel", () => {
  const eva = { id: "eva", name: "Eva" };
  const labels = async (user: ReturnType<typeof show>["user"]) =>
    (await openMore(user)).map((entry) => entry.textContent);

  it("is Markdown whose lines end where the person ended them", async () => {
    const { container } = show(makeMessage({ content: "**First**\nsecond", user: eva }), { isChannel: true });
    expect(await screen.findByText("First", { selector: "strong" })).toBeTruthy();
    expect(container.querySelectorAll("br")).toHaveLength(1);
  });

  it("is changed by its author and by the owner, and by nobody else", async () => {
    const message = makeMessage({ content: "Mine", user: eva });
    const other = show(message, { isChannel: true, isOwn: false });
    expect(await labels(other.user)).not.toContain("Delete");
    expect(screen.queryByRole("button", { name: "Edit" })).toBeNull();
    other.unmount();
    for (const who of [{ meId: "eva", isOwn: false }, { isOwn: true }]) {
      const { user, unmount } = show(message, { isChannel: true, ...who });
      expect(await labels(user)).toContain("Delete");
      expect(screen.getByRole("button", { name: "Edit", hidden: true })).toBeTruthy();
      unmount();
    }
  });
});

it("opens its thread", async () => {
  const message = makeReply({ reply_count: 2 });
  const { user, actions } = show(message);
  await user.click(await screen.findByRole("button", { name: "2 replies" }));
  expect(actions.openThread).toHaveBeenCalledWith(message.id);
});

it("copies the message as Markdown", async () => {
  const { user } = show(makeReply({ content: "Yeast makes gas." }));
  const article = await screen.findByRole("article");
  await user.click(within(article).getByRole("button", { name: "Copy" }));
  expect(await navigator.clipboard.readText()).toBe("Yeast makes gas.");
  expect(await within(article).findByRole("button", { name: "Copied" })).toBeTruthy();
});
