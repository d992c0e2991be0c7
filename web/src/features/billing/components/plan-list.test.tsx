import { screen, waitFor } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { chooseOption, renderApp } from "@/test/render";
import { fakeServer, problem } from "@/test/server";
import type { Plan } from "../queries";
import { PlanList } from "./plan-list";

function makePlan(fields: Partial<Plan> = {}): Plan {
  return {
    id: "p1",
    name: "Pro",
    description: null,
    price_minor: 1200,
    currency: "eur",
    interval: "month",
    is_default: false,
    is_offered: true,
    models: ["openai/*"],
    features: null,
    products: [{ source: "polar", product_id: "prod" }],
    people: 2,
    created_at: "2026-11-01T00:00:00Z",
    updated_at: "2026-11-01T00:00:00Z",
    ...fields,
  };
}

function open(plans: Plan[] = [makePlan()]) {
  const server = fakeServer({
    "GET /plans": { items: plans },
    "POST /plans": { status: 201, body: makePlan() },
    "PATCH /plans/p1": makePlan(),
    "DELETE /plans/p1": { status: 204 },
  });
  return { server, ...renderApp(<PlanList />) };
}

describe("the plans", () => {
  it("show their price, models and people", async () => {
    open();
    await screen.findByText("€12.00 per month · openai/* · 2 people");
    expect(screen.getByText("On offer")).toBeTruthy();
  });

  it("explain themselves when there are none", async () => {
    open([]);
    await screen.findByText("No plans yet");
    expect(screen.getByText(/Without plans, everything is allowed/)).toBeTruthy();
  });

  it("are created with models, features and products", async () => {
    const { server, user } = open([]);
    await user.click(await screen.findByRole("button", { name: "Create a plan" }));
    await user.type(screen.getByLabelText("Name"), "Team");
    await user.type(screen.getByLabelText("Price shown"), "9.5");
    await user.type(screen.getByLabelText("Currency"), "EUR");
    await chooseOption(user, "Interval", "Per month");
    await user.type(screen.getByLabelText("Models"), "openai/*{enter}local/*");
    await user.click(screen.getByRole("checkbox", { name: "Web search" }));
    await user.type(screen.getByLabelText("Products"), "stripe:price_1");
    await user.click(screen.getByRole("button", { name: "Create plan" }));
    await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
    expect(server.calls.find((call) => call.method === "POST")?.body).toEqual({
      name: "Team",
      description: null,
      price_minor: 950,
      currency: "eur",
      interval: "month",
      models: ["openai/*", "local/*"],
      features: ["tools", "pictures"],
      is_default: false,
      is_offered: false,
      products: [{ source: "stripe", product_id: "price_1" }],
    });
  });

  it("keep what was typed when the name is taken", async () => {
    const { server, user } = open();
    server.set("POST /plans", problem(409, "plan_name_taken", "There is already a plan called Pro."));
    await user.click(await screen.findByRole("button", { name: "Create a plan" }));
    await user.type(screen.getByLabelText("Name"), "Pro");
    await user.click(screen.getByRole("button", { name: "Create plan" }));
    expect((await screen.findByRole("alert")).textContent).toContain("already a plan called Pro");
    expect((screen.getByLabelText("Name") as HTMLInputElement).value).toBe("Pro");
  });

  it("are deleted, which can be undone", async () => {
    const { server, user } = open();
    await user.click(await screen.findByRole("button", { name: "Delete Pro" }));
    await user.click(await screen.findByRole("button", { name: "Undo" }));
    await waitFor(() => expect(server.calls.some((call) => call.method === "POST")).toBe(true));
    const body = server.calls.find((call) => call.method === "POST")?.body as Partial<Plan>;
    expect([body.name, body.models, body.id]).toEqual(["Pro", ["openai/*"], undefined]);
  });
});
