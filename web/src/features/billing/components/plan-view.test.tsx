import { screen, waitFor } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import { renderApp } from "@/test/render";
import { fakeServer, problem } from "@/test/server";
import type { Payment, Plan, Subscription } from "../queries";
import { PastDueNotice } from "./past-due-notice";
import { PlanView } from "./plan-view";
import { WebhookEvents } from "./webhook-events";

const PLAN = {
  id: "p1",
  name: "Pro",
  description: "More of everything",
  price_minor: 1200,
  currency: "eur",
  interval: "month",
  is_offered: true,
  products: [{ source: "polar", product_id: "x" }],
} as Plan;

function makeSubscription(fields: Partial<Subscription> = {}): Subscription {
  return {
    id: "s1",
    source: "polar",
    status: "active",
    product_id: "x",
    plan_name: "Pro",
    amount: 1200,
    currency: "eur",
    recurring_interval: "month",
    current_period_end: "2026-12-24T12:00:00Z",
    cancel_at_period_end: false,
    ends_at: null,
    ended_at: null,
    past_due_at: null,
    has_access: true,
    access_until: null,
    ...fields,
  };
}

type Options = {
  subscriptions?: Subscription[];
  payments?: Partial<Payment>[];
  sources?: string[];
  hasBought?: boolean;
};

function open({ subscriptions = [], payments = [], sources = ["polar"], hasBought = false }: Options = {}) {
  const has = subscriptions.some((item) => item.has_access);
  const server = fakeServer({
    "GET /subscription": {
      plan: {
        user_id: "u1",
        plan_id: has ? "p1" : null,
        plan_name: has ? "Pro" : null,
        source: null,
        features: [],
      },
      subscriptions,
      sources,
      can_manage: subscriptions.length > 0,
    },
    "GET /plans": { items: [PLAN] },
    "GET /payments": { items: payments, next_cursor: null },
    "POST /checkout": { url: "https://pay.example/checkout" },
    "POST /customer-portal": { url: "https://pay.example/portal" },
  });
  const assign = vi.fn();
  vi.stubGlobal("location", { ...window.location, assign });
  const view = (
    <>
      <PastDueNotice link={<a href="/settings/plan">Update payment</a>} />
      <PlanView hasBought={hasBought} limits={null} />
    </>
  );
  return { server, assign, ...renderApp(view) };
}

const TEAM = { ...PLAN, id: "p2", name: "Team", price_minor: 3000 } as Plan;

describe("changing a subscription", () => {
  function change(answer: object) {
    const shown = open({ subscriptions: [makeSubscription()] });
    shown.server.set("GET /plans", { items: [PLAN, TEAM] });
    shown.server.set("PATCH /subscriptions/s1", answer);
    return shown;
  }
  const answered = (fields: Partial<Subscription>, planName = "Pro") => ({
    plan: { user_id: "u1", plan_id: "p1", plan_name: planName, source: "subscription", features: [] },
    subscriptions: [makeSubscription({ plan_name: planName, ...fields })],
    sources: ["polar"],
    can_manage: true,
  });

  it("is cancelled to the end of the period, and kept after all by undo", async () => {
    const { server, user } = change((call: { body: { cancel_at_period_end: boolean } }) =>
      answered(
        call.body.cancel_at_period_end
          ? { cancel_at_period_end: true, access_until: "2026-12-24T12:00:00Z" }
          : {},
      ),
    );
    await user.click(await screen.findByRole("button", { name: "Cancel" }));
    await screen.findByText(/Cancelled. You keep the plan until Dec 24, 2026/);
    await screen.findByRole("button", { name: "Keep it after all" });
    await user.click(screen.getByRole("button", { name: "Undo" }));
    await screen.findByRole("button", { name: "Cancel" });
    expect(server.bodies("PATCH /subscriptions/s1")).toEqual([
      { cancel_at_period_end: true },
      { cancel_at_period_end: false },
    ]);
  });

  it("is moved to another plan after saying what it costs", async () => {
    const { server, user } = change(answered({ amount: 3000 }, "Team"));
    await user.click(await screen.findByRole("button", { name: "Change to Team" }));
    await screen.findByText(/Team costs €30.00 per month instead of €12.00 per month/);
    expect(server.bodies("PATCH /subscriptions/s1")).toEqual([]);
    const [, confirm] = screen.getAllByRole("button", { name: "Change to Team", hidden: true });
    await user.click(confirm as HTMLElement);
    await screen.findByText("Your plan is Team now.");
    expect(server.bodies("PATCH /subscriptions/s1")).toEqual([{ plan_id: "p2" }]);
  });

  it("says why it was not changed", async () => {
    const { user } = change(problem(503, "subscription_not_changed", "Polar refused this change."));
    await user.click(await screen.findByRole("button", { name: "Cancel" }));
    await screen.findByText("Polar refused this change.");
    expect(screen.queryByRole("button", { name: "Keep it after all" })).toBeNull();
  });

  it("offers nothing where the provider cannot be called", async () => {
    open({ subscriptions: [makeSubscription()], sources: [] });
    await screen.findByText(/renews on/);
    expect(screen.queryByRole("button", { name: "Cancel" })).toBeNull();
  });
});

describe("the plan of a person", () => {
  it("can be bought", async () => {
    const { server, assign, user } = open();
    await screen.findByText("€12.00 per month");
    await user.click(await screen.findByRole("button", { name: "Get Pro" }));
    await waitFor(() => expect(assign).toHaveBeenCalledWith("https://pay.example/checkout"));
    expect(server.calls.find((call) => call.path === "/checkout")?.body).toEqual({ plan_id: "p1" });
  });

  it("says why it cannot be bought now", async () => {
    const { server, user } = open();
    server.set(
      "POST /checkout",
      problem(503, "payment_provider_error", "Polar did not answer. Nothing was charged."),
    );
    await user.click(await screen.findByRole("button", { name: "Get Pro" }));
    expect((await screen.findByRole("alert")).textContent).toContain("Nothing was charged");
  });

  it("is not for sale where no payments are set up", async () => {
    open({ sources: [] });
    await screen.findByText("Without a plan, everything is included.");
    expect(screen.queryByRole("button", { name: "Get Pro" })).toBeNull();
  });

  it("says that the payment is being confirmed after the checkout", async () => {
    open({ hasBought: true });
    await screen.findByText(/Your plan starts as soon as the payment is confirmed/);
  });

  it.each([
    [{}, "Active", "€12.00 per month · renews on Dec 24, 2026"],
    [
      { cancel_at_period_end: true, access_until: "2026-12-24T12:00:00Z" },
      "Cancelled",
      "€12.00 per month · you keep the plan until Dec 24, 2026",
    ],
    [
      { status: "past_due", access_until: "2026-12-24T12:00:00Z" },
      "Payment failed",
      "€12.00 per month · update your card before Dec 24, 2026, when the plan ends",
    ],
    [
      { status: "canceled", has_access: false, ended_at: "2026-12-24T12:00:00Z" },
      "Ended",
      "€12.00 per month · ended on Dec 24, 2026",
    ],
  ] as const)("shows its state: %j", async (fields, state, renewal) => {
    open({ subscriptions: [makeSubscription(fields)] });
    await screen.findByText(state);
    await screen.findByText(renewal);
  });

  it("says everywhere that a payment failed", async () => {
    open({ subscriptions: [makeSubscription({ status: "past_due", access_until: "2026-12-24T12:00:00Z" })] });
    await screen.findByText(/A payment failed\. You keep Pro until December 24/);
    expect(screen.getByRole("link", { name: "Update payment" })).toBeTruthy();
  });

  it("is managed at the payment provider", async () => {
    const { assign, user } = open({ subscriptions: [makeSubscription()] });
    await user.click(await screen.findByRole("button", { name: "Manage subscription" }));
    await waitFor(() => expect(assign).toHaveBeenCalledWith("https://pay.example/portal"));
  });

  it("lists what was paid and refunded", async () => {
    const paid = {
      id: "o1",
      created_at: "2026-11-01T09:00:00Z",
      status: "paid",
      is_paid: true,
      total_amount: 1452,
      refunded_amount: 0,
      currency: "eur",
      invoice_number: "T-1",
      receipt_url: null,
    };
    const { assign, server, user } = open({
      payments: [
        paid,
        { ...paid, id: "o2", invoice_number: "T-2", refunded_amount: 1452, status: "refunded" },
      ],
    });
    const table = await screen.findByRole("table");
    expect([...table.querySelectorAll("tbody tr")].map((row) => row.textContent)).toEqual([
      "Nov 1, 2026T-1Paid€14.52",
      "Nov 1, 2026T-2Refunded€14.52",
    ]);
    server.set("POST /payments/o1/invoice", { url: "https://pay.example/o1.pdf" });
    await user.click(screen.getByRole("button", { name: "T-1" }));
    await waitFor(() => expect(assign).toHaveBeenCalledWith("https://pay.example/o1.pdf"));
    server.set(
      "POST /payments/o2/invoice",
      problem(409, "invoice_missing", "Polar is making the invoice. Try again in a moment."),
    );
    await user.click(screen.getByRole("button", { name: "T-2" }));
    await screen.findByText("Polar is making the invoice. Try again in a moment.");
  });
});

describe("the events of payment providers", () => {
  it("show what failed, and are applied again", async () => {
    const event = {
      id: "e1",
      source: "polar",
      type: "subscription.active",
      received_at: new Date().toISOString(),
      processed_at: null,
      error: "KeyError: x",
      body: '{"a": 1}',
    };
    const server = fakeServer({
      "GET /webhook-events": {
        items: [event, { ...event, id: "e2", type: null, error: null }],
        next_cursor: null,
      },
      "GET /webhook-refusals": {
        items: [{ source: "polar", reason: "too_old", date: "2026-11-22", count: 3 }],
      },
      "POST /webhook-events/e1/replay": event,
    });
    const { user } = renderApp(<WebhookEvents />);
    await screen.findByText("Failed");
    await screen.findByText("Unreadable");
    await screen.findByText("3 deliveries were refused in the last 30 days: too old.");
    await user.click((await screen.findAllByRole("button", { name: "Apply again" }))[0] as HTMLElement);
    await screen.findByText("The event is applied again.");
    expect(server.calls.some((call) => call.method === "POST")).toBe(true);
  });
});
