import { screen, waitFor } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import { newClient, renderApp } from "@/test/render";
import { fakeServer } from "@/test/server";
import { CheaperModel, Forecast, wordsForRange } from "./forecast";

const costs = (expected: string | null, low = expected, high = expected) => ({
  expected_cost: expected,
  low_cost: low,
  high_cost: high,
  most_cost: expected && "0.5",
});

describe("the cost of the next message", () => {
  it("is shown for what is written, with the most that it can be", async () => {
    const server = fakeServer({ "GET /forecast": { items: [], ...costs("0.0043") } });
    renderApp(<Forecast chatId="c1" models={[]} next={{ characters: 250, pictures: 1 }} />);
    const shown = await screen.findByTitle("Expected from earlier replies, and at most.");
    expect(shown.textContent).toBe("This message costs about ≈ $0.0043, at most  · ≤ $0.50");
    expect(Object.fromEntries(server.calls[0]?.query ?? [])).toEqual({
      characters: "400",
      pictures: "1",
      cheaper: "false",
      chat_id: "c1",
    });
  });

  it("is asked for each of several models", async () => {
    const server = fakeServer({ "GET /forecast": { items: [], ...costs("0.01") } });
    const models = ["a", "b"].map((model_name) => ({ provider: "openai", model_name }));
    renderApp(<Forecast models={models} next={{ characters: 10, pictures: 0 }} />);
    await screen.findByText("≈ $0.01", { exact: false });
    expect(server.calls[0]?.query.getAll("models")).toEqual(["openai/a", "openai/b"]);
  });

  it("is not shown while nothing is written", () => {
    const server = fakeServer({ "GET /forecast": { items: [], ...costs("0.01") } });
    renderApp(<Forecast models={[]} next={{ characters: 0, pictures: 0 }} />);
    expect(server.calls).toEqual([]);
  });

  it.each([
    ["is unknown", costs(null)],
    ["is 0, as for the built-in model", { ...costs("0.000000"), most_cost: "0.000000" }],
  ])("is not shown if the price %s", async (_, none) => {
    fakeServer({ "GET /forecast": { items: [], ...none } });
    const client = newClient();
    renderApp(<Forecast models={[]} next={{ characters: 5, pictures: 0 }} />, client);
    const loaded = () =>
      client
        .getQueryCache()
        .getAll()
        .some((query) => query.state.status === "success");
    await waitFor(() => expect(loaded()).toBe(true));
    expect(screen.queryByText(/≈/)).toBeNull();
  });

  it("is a range if tools make several requests likely", () => {
    expect(wordsForRange(costs("0.05", "0.02", "0.2"))).toBe("$0.02 to $0.20");
    expect(wordsForRange(costs("0.05"))).toBe("$0.05");
  });
});

describe("a cheaper model", () => {
  const forecast = (cheaper: object | null) => ({ items: [{ ...costs("0.02"), cheaper }], ...costs("0.02") });

  it("is offered with both costs", async () => {
    fakeServer({
      "GET /forecast": forecast({ provider: "openai", model_name: "small", expected_cost: "0.001" }),
    });
    const onChoose = vi.fn();
    const { user } = renderApp(<CheaperModel chatId="c1" verb="Answer with" onChoose={onChoose} />);
    await user.click(
      await screen.findByRole("button", { name: "Answer with small: about $0.001 instead of $0.02" }),
    );
    expect(onChoose).toHaveBeenCalledWith({ provider: "openai", model_name: "small" });
  });

  it("is not offered if there is none", async () => {
    fakeServer({ "GET /forecast": forecast(null) });
    const client = newClient();
    renderApp(<CheaperModel chatId="c1" verb="Use" onChoose={vi.fn()} />, client);
    await waitFor(() => expect(client.getQueryCache().getAll()[0]?.state.status).toBe("success"));
    expect(screen.queryByRole("button")).toBeNull();
  });
});
