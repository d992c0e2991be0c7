import { fireEvent, screen, waitFor } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import { keepText, readKeptText } from "@/lib/kept-text";
import { renderApp } from "@/test/render";
import { fakeServer } from "@/test/server";
import { Composer } from "./composer";

function show(props: Partial<Parameters<typeof Composer>[0]> = {}) {
  fakeServer({});
  const onSend = vi.fn(async () => undefined);
  const view = renderApp(<Composer place="c1" onSend={onSend} {...props} />);
  return { ...view, onSend };
}
const box = () => screen.findByRole("textbox");

describe("what is typed", () => {
  it("is kept for its chat and comes back", async () => {
    const { user, unmount } = show();
    await user.type(await box(), "half a thought");
    expect(readKeptText("c1")).toBe("half a thought");
    unmount();
    show();
    expect(await box()).toHaveProperty("value", "half a thought");
  });

  it("of another chat is not shown", async () => {
    keepText("c2", "elsewhere");
    show();
    expect(await box()).toHaveProperty("value", "");
  });

  it("is forgotten once it is sent", async () => {
    const { user, onSend } = show();
    await user.type(await box(), "hello{Enter}");
    await waitFor(() => expect(onSend).toHaveBeenCalledWith("hello", []));
    expect(readKeptText("c1")).toBe("");
    expect(await box()).toHaveProperty("value", "");
  });

  it("comes back when sending fails, before what was typed since", async () => {
    let fail: (error: Error) => void = () => undefined;
    const onSend = () => new Promise<void>((_, reject) => (fail = reject));
    const { user } = show({ onSend });
    await user.type(await box(), "first{Enter}");
    await user.type(await box(), "second");
    fail(new Error("refused"));
    await waitFor(async () => expect(await box()).toHaveProperty("value", "first\n\nsecond"));
  });
});

describe("keys", () => {
  it("Enter sends, and Shift+Enter makes a line", async () => {
    const { user, onSend } = show();
    await user.type(await box(), "one{Shift>}{Enter}{/Shift}two{Enter}");
    await waitFor(() => expect(onSend).toHaveBeenCalledWith("one\ntwo", []));
  });

  it.each([
    ["isComposing", { key: "Enter", isComposing: true }],
    ["keyCode 229", { key: "Enter", keyCode: 229 }],
  ])("Enter that ends a composition does not send (%s)", async (_, event) => {
    const { user, onSend } = show();
    await user.type(await box(), "にほん");
    fireEvent.keyDown(await box(), event);
    expect(onSend).not.toHaveBeenCalled();
  });

  it("Enter makes a line on a phone", async () => {
    vi.stubGlobal("matchMedia", () => ({ matches: true, addEventListener() {}, removeEventListener() {} }));
    const { user, onSend } = show();
    await user.type(await box(), "one{Enter}");
    expect(onSend).not.toHaveBeenCalled();
  });

  it("Escape stops the reply", async () => {
    const onStop = vi.fn();
    const { user } = show({ onStop });
    await user.type(await box(), "{Escape}");
    expect(onStop).toHaveBeenCalledOnce();
  });

  it("the up arrow edits the last message only while nothing is typed", async () => {
    const onEditLast = vi.fn();
    const { user } = show({ onEditLast });
    await user.type(await box(), "x{ArrowUp}");
    expect(onEditLast).not.toHaveBeenCalled();
    await user.clear(await box());
    await user.type(await box(), "{ArrowUp}");
    expect(onEditLast).toHaveBeenCalledOnce();
  });
});

describe("sending is off", () => {
  it("without text", async () => {
    const { user, onSend } = show();
    await user.type(await box(), "   {Enter}");
    expect(onSend).not.toHaveBeenCalled();
    expect(screen.getByRole("button", { name: "Send" })).toHaveProperty("disabled", true);
  });

  it.each([
    [100_000, true],
    [100_001, false],
  ])("beyond 100,000 characters: %i is accepted %s", async (length, isAccepted) => {
    keepText("c1", "x".repeat(length));
    show();
    await box();
    expect(screen.getByRole("button", { name: "Send" })).toHaveProperty("disabled", !isAccepted);
    if (!isAccepted) expect(screen.getByRole("alert").textContent).toContain("at most 100,000 characters");
  });

  it("while it is disabled", async () => {
    const { user, onSend } = show({ isDisabled: true });
    await user.type(await box(), "hello{Enter}");
    expect(onSend).not.toHaveBeenCalled();
  });
});

it("shows a problem of the last sending", async () => {
  show({ problem: "You sent 20 messages today." });
  expect((await screen.findByRole("alert")).textContent).toBe("You sent 20 messages today.");
});

it("tells that somebody types, and not that they clear the box", async () => {
  const onTyping = vi.fn();
  const { user } = show({ onTyping });
  await user.type(await box(), "a");
  await user.clear(await box());
  expect(onTyping).toHaveBeenCalledOnce();
});

describe("a name after an @", () => {
  const people = [
    { username: "ana", name: "Ana" },
    { username: "andrea", name: "Andrea Pérez" },
    { username: "bob", name: "Bob" },
  ];
  const names = () => screen.queryAllByRole("option").map((option) => option.textContent);

  it("is completed with Enter, and what follows stays", async () => {
    const { user, onSend } = show({ people });
    const field = (await box()) as HTMLTextAreaElement;
    await user.type(field, "Hello @an");
    expect(names()).toEqual(["Ana@ana", "Andrea Pérez@andrea"]);
    await user.keyboard("{ArrowDown}");
    expect(field.getAttribute("aria-activedescendant")).toBe(
      screen.getByRole("option", { selected: true }).id,
    );
    expect(screen.getByRole("option", { selected: true }).textContent).toBe("Andrea Pérez@andrea");
    await user.keyboard("{Enter}");
    expect(field.value).toBe("Hello @andrea ");
    expect(onSend).not.toHaveBeenCalled();
    expect(names()).toEqual([]);
    await user.keyboard("come{Enter}");
    await waitFor(() => expect(onSend).toHaveBeenCalledWith("Hello @andrea come", []));
  });

  it("is chosen with a press, in the middle of a text", async () => {
    const { user } = show({ people });
    const field = (await box()) as HTMLTextAreaElement;
    await user.type(field, "Hi  there");
    field.setSelectionRange(3, 3);
    await user.type(field, "@B", { initialSelectionStart: 3, initialSelectionEnd: 3 });
    await user.click(screen.getByRole("option", { name: /Bob/ }));
    expect(field.value).toBe("Hi @bob there");
    expect(field.selectionStart).toBe("Hi @bob ".length);
  });

  it("is left as it is after Escape, and where no one has such a name", async () => {
    const { user, onSend } = show({ people });
    await user.type(await box(), "@zoe");
    expect(names()).toEqual([]);
    await user.clear(await box());
    await user.type(await box(), "@a{Escape}");
    expect(names()).toEqual([]);
    await user.keyboard("{Enter}");
    await waitFor(() => expect(onSend).toHaveBeenCalledWith("@a", []));
  });
});
