import { screen, waitFor } from "@testing-library/react";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { makeModel } from "@/test/factories";
import { renderApp } from "@/test/render";
import { fakeServer } from "@/test/server";
import { abilityWords, priceWords, windowWords } from "./abilities";
import { groupModels, matches, rememberUsed } from "./groups";
import { ModelPicker } from "./model-picker";
import { ModelsDialog } from "./models-dialog";
import { EffortChoice, nearest, PicturesSwitch, SearchSwitch } from "./reply-choices";

const able = (fields: object) => ({ ...makeModel().capabilities, ...fields });
const sonnet = makeModel({
  provider: "anthropic",
  model_name: "claude-sonnet-5",
  provider_name: "Anthropic",
  display_name: "Claude Sonnet 5",
});
const gpt = makeModel({
  provider: "openai",
  model_name: "gpt-5.5",
  display_name: "GPT-5.5",
  is_default: true,
});
const liked = makeModel({
  provider: "openai",
  model_name: "o4-mini",
  display_name: "o4 mini",
  is_favourite: true,
});
const away = makeModel({ provider: "local", model_name: "small", display_name: "Small", available: false });

beforeEach(() => localStorage.clear());

describe("the groups of models", () => {
  const labels = (query: string, limit = 100, used: string[] = []) =>
    groupModels([sonnet, gpt, liked, away], used, query, limit).map(({ label, items }) => [
      label,
      items.map((model) => model.model_name).join(" "),
    ]);

  it("are favourites, those used last, then each vendor, with each model once", () => {
    expect(labels("", 100, ["anthropic/claude-sonnet-5", "gone/model"])).toEqual([
      ["Favourites", "o4-mini"],
      ["Recently used", "claude-sonnet-5"],
      ["OpenAI", "gpt-5.5"],
    ]);
  });

  it("have the models whose names have every word", () => {
    expect(labels("claude 5")).toEqual([["Anthropic", "claude-sonnet-5"]]);
    expect(labels("openai")).toEqual([
      ["Favourites", "o4-mini"],
      ["OpenAI", "gpt-5.5"],
    ]);
    expect(matches(gpt, "gpt sonnet")).toBe(false);
  });

  it("end at the limit", () => {
    expect(labels("", 1)).toEqual([["Favourites", "o4-mini"]]);
    expect(labels("", 2).flat()).not.toContain("claude-sonnet-5 gpt-5.5");
  });

  it("name whose models a gateway has", () => {
    const routed = makeModel({ provider_name: "OpenRouter", model_name: "qwen/qwen3.5" });
    expect(groupModels([routed], [], "", 100)[0]?.label).toBe("OpenRouter · qwen");
  });

  it("stay quick with two thousand models", () => {
    const many = Array.from({ length: 2000 }, (_, number) => makeModel({ model_name: `model-${number}` }));
    expect(groupModels(many, [], "", 100)[0]?.items).toHaveLength(100);
    expect(groupModels(many, [], "model-1999", 100)[0]?.items).toHaveLength(1);
  });
});

describe("the words of a model", () => {
  it.each([
    [{}, []],
    [{ vision: true, reasoning: true, tools: true }, ["sees", "thinks", "tools"]],
    [{ web_search: "always", pictures: "always" }, ["searches", "draws"]],
    [{ inputs: ["pdf", "audio"] }, ["reads PDF, audio"]],
  ])("for %o are %o", (capabilities, words) => {
    expect(abilityWords(makeModel({ capabilities: able(capabilities) }))).toEqual(words);
  });

  it.each([
    [null, undefined],
    [8192, "8 k tokens"],
    [200_000, "200 k tokens"],
    [1_048_576, "1 M tokens"],
    [1_500_000, "1.5 M tokens"],
  ])("for a window of %s are %s", (context_window, words) => {
    expect(windowWords(makeModel({ context_window }))).toBe(words);
  });

  it.each([
    [null, null, undefined],
    ["0", "0", "free"],
    ["2.5", "10", "$2.50 / $10.00 per million"],
  ])("for prices %s and %s are %s", (input_price, output_price, words) => {
    expect(priceWords(makeModel({ input_price, output_price }))).toBe(words);
  });
});

describe("the picker", () => {
  const show = (models = [sonnet, gpt, liked]) => {
    const server = fakeServer({ "GET /models": { items: models }, "PUT /models/favourite": null });
    const onChoose = vi.fn();
    return { ...renderApp(<ModelPicker value={undefined} onChoose={onChoose} />), server, onChoose };
  };

  it("shows the default, and finds another by a part of its name", async () => {
    const { user, onChoose } = show();
    await user.click(await screen.findByRole("combobox", { name: "Model: GPT-5.5" }));
    await user.type(await screen.findByRole("combobox", { name: "Search models" }), "sonnet");
    await waitFor(() => expect(screen.getAllByRole("option")).toHaveLength(1));
    await user.keyboard("{Enter}"); // the first is marked
    expect(onChoose).toHaveBeenCalledWith("anthropic", "claude-sonnet-5");
  });

  it("says that nothing has the name", async () => {
    const { user } = show();
    await user.click(await screen.findByRole("combobox", { name: "Model: GPT-5.5" }));
    await user.type(await screen.findByRole("combobox", { name: "Search models" }), "zzz");
    expect(await screen.findByText(/No model has this name/)).toBeTruthy();
  });

  it("adds a favourite without choosing it", async () => {
    const { user, server, onChoose } = show();
    await user.click(await screen.findByRole("combobox", { name: "Model: GPT-5.5" }));
    await user.click(
      (await screen.findAllByRole("button", { name: "Add to favourites", hidden: true }))[0] as Element,
    );
    expect(onChoose).not.toHaveBeenCalled();
    await waitFor(() =>
      expect(server.bodies("PUT /models/favourite")).toEqual([
        { provider: "anthropic", model_name: "claude-sonnet-5", is_favourite: true },
      ]),
    );
  });

  it("adds a favourite by the keyboard, and removes it again", async () => {
    const { user, server, onChoose } = show();
    await user.click(await screen.findByRole("combobox", { name: "Model: GPT-5.5" }));
    await user.type(await screen.findByRole("combobox", { name: "Search models" }), "sonnet");
    await waitFor(() => expect(screen.getAllByRole("option")).toHaveLength(1));
    await user.keyboard("{ArrowDown}{Alt>}f{/Alt}");
    await waitFor(() => expect(server.bodies("PUT /models/favourite")).toHaveLength(1));
    await user.keyboard("{Alt>}f{/Alt}");
    await waitFor(() =>
      expect(server.bodies("PUT /models/favourite")).toMatchObject([
        { is_favourite: true },
        { is_favourite: false },
      ]),
    );
    expect(onChoose).not.toHaveBeenCalled();
  });

  it("remembers what was used", () => {
    rememberUsed("a/one");
    rememberUsed("b/two");
    rememberUsed("a/one");
    expect(groupModels([makeModel({ provider: "b", model_name: "two" })], ["b/two"], "", 9)[0]?.label).toBe(
      "Recently used",
    );
  });
});

describe("how long a model thinks", () => {
  it("is hidden for a model without a choice", async () => {
    renderApp(<EffortChoice model={gpt} value={null} onChoose={vi.fn()} />);
    await screen.findByRole("region", { name: "Notifications" });
    expect(screen.queryByRole("combobox")).toBeNull();
  });

  it("is chosen from what the model has", async () => {
    const onChoose = vi.fn();
    const model = makeModel({ capabilities: able({ efforts: ["low", "high"] }) });
    const { user } = renderApp(<EffortChoice model={model} value="medium" onChoose={onChoose} />);
    const button = await screen.findByRole("combobox", { name: "Thinking" });
    expect(button.textContent).toContain("Low thinking");
    await user.click(button);
    await user.click(await screen.findByRole("option", { name: "High thinking" }));
    expect(onChoose).toHaveBeenCalledWith("high");
  });

  it.each([
    ["medium", ["low", "high"], "low"],
    ["none", ["low", "high"], "low"],
    ["minimal", ["none", "medium"], "medium"],
    ["max", ["none", "high"], "high"],
  ] as const)("of %s is for %o the nearest, %s", (wanted, efforts, taken) => {
    expect(nearest(wanted, efforts)).toBe(taken);
  });
});

describe("the search of the vendor", () => {
  it("is a switch where it is offered", async () => {
    const onToggle = vi.fn();
    const model = makeModel({ capabilities: able({ web_search: "offered" }) });
    const { user } = renderApp(<SearchSwitch model={model} isOn={false} onToggle={onToggle} />);
    const button = await screen.findByRole("button", { name: "Search the web" });
    expect(button.getAttribute("aria-pressed")).toBe("false");
    await user.click(button);
    expect(onToggle).toHaveBeenCalledWith(true);
  });

  it("is hidden where there is none", async () => {
    renderApp(<SearchSwitch model={gpt} isOn={false} onToggle={vi.fn()} />);
    await screen.findByRole("region", { name: "Notifications" });
    expect(screen.queryByRole("button")).toBeNull();
  });

  it("is on and fixed for models that always search", async () => {
    const model = makeModel({ capabilities: able({ web_search: "always" }) });
    renderApp(<SearchSwitch model={model} isOn={false} onToggle={vi.fn()} />);
    const button = await screen.findByRole("button", { name: "This model searches the web for each reply" });
    expect([button.getAttribute("aria-pressed"), button.hasAttribute("disabled")]).toEqual(["true", true]);
  });

  it("says that a model searches only without tools", async () => {
    const model = makeModel({ capabilities: able({ web_search: "alone" }) });
    renderApp(<SearchSwitch model={model} isOn onToggle={vi.fn()} />);
    expect(await screen.findByRole("button", { name: "Searches the web, without tools" })).toBeTruthy();
  });
});

describe("pictures of the vendor", () => {
  it.each([
    ["offered", false, "Make pictures on request", false],
    ["offered", true, "Makes pictures on request", false],
    ["always", false, "This model makes pictures", true],
  ] as const)("are %s, and %s: %s", async (pictures, isOn, name, isFixed) => {
    const onToggle = vi.fn();
    const model = makeModel({ capabilities: able({ pictures }) });
    const { user } = renderApp(<PicturesSwitch model={model} isOn={isOn} onToggle={onToggle} />);
    const button = await screen.findByRole("button", { name });
    await user.click(button);
    expect(onToggle.mock.calls).toEqual(isFixed ? [] : [[!isOn]]);
  });
});

describe("the dialog for several models", () => {
  const many = Array.from({ length: 2000 }, (_, number) =>
    makeModel({ model_name: `model-${number}`, display_name: `Model ${number}` }),
  );
  const show = (models = [sonnet, gpt, liked]) => {
    fakeServer({ "GET /models": { items: models } });
    const onChoose = vi.fn();
    return { ...renderApp(<ModelsDialog verb="Ask now" onChoose={onChoose} onClose={vi.fn()} />), onChoose };
  };

  it("keeps what is chosen while one searches for another", async () => {
    const { user, onChoose } = show();
    await user.click(await screen.findByRole("checkbox", { name: "GPT-5.5, OpenAI" }));
    await user.type(screen.getByLabelText("Search models"), "sonnet");
    await user.click(screen.getByRole("checkbox", { name: "Claude Sonnet 5, Anthropic" }));
    expect(screen.getAllByRole("checkbox")).toHaveLength(2);
    expect(screen.getByText("No other model has this name.")).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "Ask now" }));
    expect(onChoose).toHaveBeenCalledWith([
      { provider: "anthropic", model_name: "claude-sonnet-5" },
      { provider: "openai", model_name: "gpt-5.5" },
    ]);
  });

  it("takes four and no more", async () => {
    const { user } = show(many.slice(0, 5));
    for (const number of [0, 1, 2, 3])
      await user.click(await screen.findByRole("checkbox", { name: `Model ${number}, OpenAI` }));
    expect(screen.getByRole("checkbox", { name: "Model 4, OpenAI" }).getAttribute("aria-disabled")).toBe(
      "true",
    );
    await user.click(screen.getByRole("checkbox", { name: "Model 0, OpenAI" }));
    expect(screen.getByRole("checkbox", { name: "Model 4, OpenAI" }).getAttribute("aria-disabled")).not.toBe(
      "true",
    );
  });

  it("draws a hundred of two thousand, and finds the others by name", async () => {
    const { user } = show(many);
    await waitFor(() => expect(screen.getAllByRole("checkbox")).toHaveLength(100));
    expect(screen.getByText("1,900 more. Type part of a name to see them.")).toBeTruthy();
    await user.type(screen.getByLabelText("Search models"), "1999");
    await waitFor(() => expect(screen.getAllByRole("checkbox")).toHaveLength(1));
  });
});
