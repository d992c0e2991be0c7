import { screen, waitFor } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import { chooseEntry, renderApp } from "@/test/render";
import type { Proposal } from "../queries";
import { AskBar } from "./ask-bar";

function makeProposal(fields: Partial<Proposal> = {}): Proposal {
  return {
    id: "p1",
    status: "open",
    instruction: "Shorten",
    model_name: "gpt",
    total_tokens: 1200,
    cost: "0.02",
    problem: null,
    edits: [{ status: "open" }, { status: "open" }],
    ...fields,
  } as unknown as Proposal;
}

type Options = {
  text?: string;
  selection?: { start: number; end: number };
  proposal?: Proposal;
  openEdits?: number;
  onAsk?: () => Promise<void>;
};

function open({
  text = "One two three",
  selection = { start: 0, end: 0 },
  proposal,
  openEdits = 0,
  onAsk,
}: Options = {}) {
  const props = {
    onAsk: vi.fn(onAsk ?? (async () => {})),
    onDecideAll: vi.fn(),
    onStep: vi.fn(),
    onStop: vi.fn(),
  };
  const bar = (
    <AskBar
      draftId="d1"
      text={text}
      selection={selection}
      proposal={proposal}
      openEdits={openEdits}
      modelChoice={<p>Model</p>}
      {...props}
    />
  );
  return { ...props, ...renderApp(bar) };
}

const box = () => screen.findByRole<HTMLTextAreaElement>("textbox");

describe("asking a model for a change", () => {
  it("sends what was typed with Enter, and empties the box", async () => {
    const { user, onAsk } = open();
    await user.type(await box(), " Shorter, please {Enter}");
    expect(onAsk).toHaveBeenCalledWith("Shorter, please", undefined);
    await waitFor(async () => expect((await box()).value).toBe(""));
  });

  it("starts a new line with Shift and Enter, and sends nothing that is empty", async () => {
    const { user, onAsk } = open();
    await user.type(await box(), "  {Enter}");
    expect(onAsk).not.toHaveBeenCalled();
    await user.type(await box(), "a{Shift>}{Enter}{/Shift}b");
    expect((await box()).value).toBe("  a\nb");
    expect(onAsk).not.toHaveBeenCalled();
  });

  it("asks about what is selected", async () => {
    const { user, onAsk } = open({ selection: { start: 4, end: 7 } });
    expect((await box()).placeholder).toBe("Change the selected 3 characters …");
    await user.type(await box(), "Upper case{Enter}");
    expect(onAsk).toHaveBeenCalledWith("Upper case", { start: 4, end: 7 });
  });

  it("keeps what was typed when it fails, and over a reload", async () => {
    const { user, unmount } = open({ onAsk: () => Promise.reject(new Error("no")) });
    await user.type(await box(), "Shorter{Enter}");
    await screen.findByRole("alert");
    expect((await box()).value).toBe("Shorter");
    unmount();
    open();
    expect((await box()).value).toBe("Shorter");
  });

  it("has quick changes, of which one continues at the cursor", async () => {
    const { user, onAsk } = open({ selection: { start: 5, end: 5 } });
    await chooseEntry(user, "Quick changes", "Shorten");
    expect(onAsk).toHaveBeenLastCalledWith("Make this shorter and keep what it says.", undefined);
    await chooseEntry(user, "Quick changes", "Continue");
    expect(onAsk).toHaveBeenLastCalledWith(expect.stringContaining("Go on from here"), { start: 5, end: 5 });
  });

  it("offers only to begin while nothing is written", async () => {
    const { user } = open({ text: "" });
    expect((await box()).placeholder).toBe("What shall it be about?");
    await user.click(screen.getByRole("button", { name: "Quick changes" }));
    expect((await screen.findAllByRole("menuitem")).map((entry) => entry.textContent)).toEqual(["Continue"]);
  });
});

describe("what a model proposed", () => {
  it("is being written, and can be stopped", async () => {
    const { user, onStop } = open({ proposal: makeProposal({ status: "writing" }) });
    expect((await screen.findByRole("status")).textContent).toContain("gpt is writing: Shorten");
    await user.click(screen.getByRole("button", { name: "Stop" }));
    expect(onStop).toHaveBeenCalledOnce();
    await user.type(await box(), "More");
    expect(screen.getByRole<HTMLButtonElement>("button", { name: "Ask" }).disabled).toBe(true);
  });

  it("is counted with its cost, and decided on as a whole", async () => {
    const { user, onDecideAll, onStep } = open({ proposal: makeProposal(), openEdits: 2 });
    expect((await screen.findByRole("status")).textContent).toBe(
      "2 changes proposed gpt · 1,200 tokens · $0.02",
    );
    await user.click(screen.getByRole("button", { name: "Next" }));
    expect(onStep).toHaveBeenCalledWith(1);
    await user.click(screen.getByRole("button", { name: "Accept all" }));
    await user.click(screen.getByRole("button", { name: "Reject all" }));
    expect(onDecideAll.mock.calls).toEqual([["accept"], ["reject"]]);
  });

  it.each([
    ["one change", 1, "1 change proposed"],
    ["that some do not fit", 1, "Some no longer fit the text as it is now."],
  ])("says %s", async (_, openEdits, words) => {
    open({ proposal: makeProposal(), openEdits });
    expect((await screen.findByRole("status")).textContent).toContain(words);
    expect(screen.queryByRole("button", { name: "Next" })).toBeNull();
  });

  it("can only be rejected when nothing fits", async () => {
    open({ proposal: makeProposal({ problem: "The text has changed." }), openEdits: 0 });
    await screen.findByText("The text has changed.");
    expect(screen.getByRole<HTMLButtonElement>("button", { name: "Accept all" }).disabled).toBe(true);
    expect(screen.getByRole<HTMLButtonElement>("button", { name: "Reject all" }).disabled).toBe(false);
  });

  it("says why it failed", async () => {
    open({ proposal: makeProposal({ status: "failed", problem: "The provider does not answer." }) });
    await screen.findByText("The provider does not answer.");
  });
});
