import { screen, within } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { renderApp } from "@/test/render";
import { fakeServer, problem } from "@/test/server";
import { PriceList } from "./price-list";

const price = (fields: object = {}) => ({
  id: "p1",
  provider: "openai",
  model_name: "gpt-4o",
  input_price: "2",
  output_price: "8",
  cached_price: null,
  cache_write_price: null,
  hour_price: null,
  valid_from: "2026-11-01T00:00:00Z",
  valid_until: null,
  ...fields,
});

function show(routes: Record<string, object | null> = {}) {
  const server = fakeServer({
    "GET /model-prices": {
      items: [
        price(),
        price({
          id: "p2",
          provider: "local",
          hour_price: "0.5",
          input_price: "0",
          output_price: "0",
          model_name: null,
        }),
      ],
    },
    "GET /unknown-prices": { items: [{ provider: "openai", rule: "refuse" }] },
    "GET /providers": { items: [{ id: "openai", display_name: "OpenAI" }] },
    ...routes,
  });
  return { server, ...renderApp(<PriceList />) };
}

describe("prices", () => {
  it("say their amounts and from when they count", async () => {
    show();
    await screen.findByText("$2.00 in, $8.00 out per million tokens · from Nov 1, 2026");
    await screen.findByText("$0.50 per hour · from Nov 1, 2026");
    screen.getByText("Models without a price", { selector: "p" });
  });

  it("are entered, with what the server says about them", async () => {
    const { user, server } = show({
      "POST /model-prices": problem(422, "invalid", "Wrong", {
        errors: [{ field: "input_price", message: "Enter a number." }],
      }),
    });
    await user.click(await screen.findByRole("button", { name: "Enter a price" }));
    const dialog = within(await screen.findByRole("dialog"));
    await user.type(dialog.getByLabelText("Model"), "my-model");
    await user.type(dialog.getByLabelText("Input, dollars per million tokens"), "1,5");
    await user.click(dialog.getByRole("button", { name: "Enter" }));
    await dialog.findByText("Enter a number.");
    expect(server.calls.find((call) => call.method === "POST")?.body).toEqual({
      provider: "openai",
      model_name: "my-model",
      input_price: "1.5",
      output_price: "0",
      cached_price: null,
      cache_write_price: null,
      hour_price: null,
      valid_from: null,
    });
    expect(dialog.getByLabelText("Model")).toHaveProperty("value", "my-model");
  });

  it("are deleted, and come back with undo", async () => {
    const { user, server } = show({ "DELETE /model-prices/p1": null, "POST /model-prices": price() });
    await user.click(await screen.findByRole("button", { name: "Delete the price of gpt-4o" }));
    await user.click(await screen.findByRole("button", { name: "Undo" }));
    expect(server.calls.find((call) => call.method === "POST")?.body).toMatchObject({
      model_name: "gpt-4o",
      input_price: "2",
    });
  });

  it("that are unknown have a rule by provider", async () => {
    const { user, server } = show({ "PUT /unknown-prices/openai": { provider: "openai", rule: "allow" } });
    await screen.findByText("OpenAI: refuse");
    await user.click(screen.getByRole("combobox", { name: "Without a price" }));
    await user.click(await screen.findByRole("option", { name: /Allow/ }));
    expect(server.calls.find((call) => call.method === "PUT")?.body).toEqual({ rule: "allow" });
  });
});
