import { screen, waitFor } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import type { Schemas } from "@/api/client";
import { ApiError } from "@/api/client";
import { makeChat, makeModel } from "@/test/factories";
import { renderApp } from "@/test/render";
import type { UsedModel } from "./chat/provider";
import { ChatSettings } from "./chat-settings";

function open(
  fields: Partial<Schemas["ChatRead"]> = {},
  save: () => Promise<unknown> = async () => {},
  model: Partial<UsedModel> = {},
) {
  const onSave = vi.fn(save);
  const onClose = vi.fn();
  const view = renderApp(
    <ChatSettings
      model={{ ...makeModel(), ignores: ["top_p", "verbosity"], ...model }}
      chat={makeChat(fields)}
      isOpen
      onClose={onClose}
      onSave={onSave}
    />,
  );
  return { onSave, onClose, ...view };
}

const field = (label: string) => screen.findByLabelText<HTMLInputElement>(label);
const EMPTY = {
  temperature: null,
  max_tokens: null,
  top_p: null,
  frequency_penalty: null,
  presence_penalty: null,
  verbosity: null,
  tool_choice: null,
  parallel_tool_calls: null,
};

describe("the settings of a chat", () => {
  it("shows what is stored", async () => {
    open({
      system_prompt: "Be brief.",
      context_window_size: 4096,
      settings: { temperature: 0.5 } as Schemas["SettingsRead"],
    });
    expect((await field("Instructions")).value).toBe("Be brief.");
    expect((await field("Temperature")).value).toBe("0.5");
    expect((await field("Top p")).value).toBe("");
    expect((await field("Window to use, in tokens")).value).toBe("4096");
  });

  it("marks what the chat's model ignores", async () => {
    open();
    await field("Temperature");
    expect(screen.getByText(/^This model ignores it. 0 to 1:/)).toBeTruthy();
    expect(screen.getByText("Length of replies (this model ignores it)")).toBeTruthy();
    expect(screen.queryByText(/^This model ignores it. 0 is strict/)).toBeNull();
  });

  it("saves numbers as numbers, and leaves an empty field to the model", async () => {
    const { user, onSave, onClose } = open({ settings: { temperature: 0.5 } as Schemas["SettingsRead"] });
    await user.clear(await field("Temperature"));
    await user.type(await field("Longest reply, in tokens"), "200");
    await user.type(await field("Window to use, in tokens"), "4096");
    await user.type(await field("Instructions"), "   ");
    await user.click(screen.getByRole("button", { name: "Save" }));
    await waitFor(() => expect(onClose).toHaveBeenCalledOnce());
    expect(onSave).toHaveBeenCalledWith({
      system_prompt: null,
      context_window_size: 4096,
      settings: { ...EMPTY, max_tokens: 200 },
    });
  });

  it("sets the window of the model for all chats, only if it changed", async () => {
    const saveWindow = vi.fn(async () => {});
    const { user, onClose } = open({}, undefined, { saveWindow, own_window: 4096 });
    const window = await field("Window of Model A, in tokens");
    expect(window.value).toBe("4096");
    await user.click(screen.getByRole("button", { name: "Save" }));
    await waitFor(() => expect(onClose).toHaveBeenCalledOnce());
    expect(saveWindow).not.toHaveBeenCalled();
    await user.clear(window);
    await user.click(screen.getByRole("button", { name: "Save" }));
    await waitFor(() => expect(saveWindow).toHaveBeenCalledWith(expect.anything(), null));
  });

  it.each([
    [{ context_window: null }, "Empty: 8,192, because its server does not say."],
    [{ context_window: 32768 }, "Empty: 32,768, as its server or the price list says."],
    [{ context_window: 4096, own_window: 4096 }, "Empty: what its server says."],
  ])("says what the window is without an own one (%j)", async (model, words) => {
    open({}, undefined, { saveWindow: async () => {}, ...model });
    expect(await screen.findByText(`For all your chats with this model. ${words}`)).toBeTruthy();
  });

  it("has no window of the built-in model, which its process knows", async () => {
    open();
    await field("Window to use, in tokens");
    expect(screen.queryByLabelText("Window of Model A, in tokens")).toBeNull();
  });

  it.each([
    [2000, false],
    [2001, true],
  ])("accepts 2,000 characters of instructions and no more (%d)", async (length, isRefused) => {
    open({ system_prompt: "x".repeat(length) });
    await field("Instructions");
    expect(screen.getByRole<HTMLButtonElement>("button", { name: "Save" }).disabled).toBe(isRefused);
    expect(screen.queryByText("2001 of at most 2,000 characters.") !== null).toBe(isRefused);
  });

  it("stays open with what was typed when it is refused", async () => {
    const { user, onClose } = open({}, () =>
      Promise.reject(new ApiError(422, "invalid", "The window is too small.")),
    );
    await user.type(await field("Instructions"), "Be brief.");
    await user.click(screen.getByRole("button", { name: "Save" }));
    await screen.findByText("The window is too small.");
    expect(onClose).not.toHaveBeenCalled();
    expect((await field("Instructions")).value).toBe("Be brief.");
  });
});
