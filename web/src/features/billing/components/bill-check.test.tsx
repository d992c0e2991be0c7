import { screen } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { renderApp } from "@/test/render";
import { type Call, fakeServer, problem } from "@/test/server";
import { BillCheck } from "./bill-check";

const line = (fields: object = {}) => ({
  day: "2026-11-01",
  model_name: "gpt-4o",
  their_cost: "1.25",
  our_cost: "1.00",
  difference: "0.25",
  reason: "other_keys",
  is_corrected: false,
  ...fields,
});
const result = (fields: object = {}) => ({
  id: "r1",
  of: "me",
  provider: "openai",
  their_cost: "1.25",
  our_cost: "1.00",
  corrected_at: null,
  items: [line(), line({ model_name: "o3", difference: "0" })],
  ...fields,
});

function show(routes: Record<string, object | null>) {
  const server = fakeServer({
    "GET /providers": { items: [{ id: "openai", display_name: "OpenAI" }] },
    ...routes,
  });
  return { server, ...renderApp(<BillCheck isAdmin />) };
}
// jsdom's files have no text().
const BILL = Object.assign(new File(["date,model,cost"], "bill.csv", { type: "text/csv" }), {
  text: async () => "date,model,cost",
});
const choose = async (user: ReturnType<typeof show>["user"]) =>
  user.upload(await screen.findByTestId("bill-picker"), BILL);

describe("a bill", () => {
  it("is compared, and its differences can be entered", async () => {
    const { user, server } = show({
      "POST /usage/reconciliations": result(),
      "POST /usage/reconciliations/r1/correct": result({
        corrected_at: "2026-11-02T00:00:00Z",
        items: [line({ is_corrected: true })],
      }),
    });
    await choose(user);
    expect((await screen.findByRole("status")).textContent).toBe(
      "The bill says $1.25, the ledger $1.00. 1 of 2 days and models differ.",
    );
    screen.getByText("Used elsewhere with the same account");
    expect(server.calls.find((call) => call.method === "POST")?.body).toEqual({
      provider: "openai",
      of: "me",
      content: "date,model,cost",
    });
    await user.click(screen.getByRole("button", { name: "Enter 1 difference" }));
    await screen.findByText("The differences are entered in the ledger.");
    expect(server.bodies("POST /usage/reconciliations/r1/correct")).toEqual([
      { lines: [{ day: "2026-11-01", model_name: "gpt-4o" }] },
    ]);
  });

  it("is entered line by line, without what may be the same under another name", async () => {
    const { user, server } = show({
      "POST /usage/reconciliations": result({
        items: [
          line(),
          line({ model_name: "ours", their_cost: null, reason: "not_billed" }),
          line({ day: "2026-11-02", model_name: "o3", reason: "price" }),
          line({ day: "2026-11-03", model_name: "o3", reason: "price" }),
        ],
      }),
      "POST /usage/reconciliations/r1/correct": result(),
    });
    await choose(user);
    await screen.findByRole("button", { name: "Enter 2 differences" });
    await user.click(screen.getByRole("checkbox", { name: "Enter o3 of Nov 2" }));
    await user.click(screen.getByRole("button", { name: "Enter 1 difference" }));
    expect(server.bodies("POST /usage/reconciliations/r1/correct")).toEqual([
      { lines: [{ day: "2026-11-03", model_name: "o3" }] },
    ]);
  });

  it("is entered some lines at a time, and those that were entered stay so when the next are refused", async () => {
    const days = Array.from({ length: 26 }, (_, day) => `2026-11-${String(day + 1).padStart(2, "0")}`);
    const entered = result({ corrected_at: "2026-11-02T00:00:00Z" });
    const { user, server } = show({
      "POST /usage/reconciliations": result({ items: days.map((day) => line({ day, reason: "price" })) }),
      "POST /usage/reconciliations/r1/correct": ({ body }: Call) => {
        const { lines } = body as { lines: { day: string }[] };
        if (lines.length < 25) return problem(503, "storage_unavailable", "Try again in a moment.");
        return { ...entered, items: lines.map(({ day }) => line({ day, is_corrected: true })) };
      },
    });
    await choose(user);
    await user.click(await screen.findByRole("button", { name: "Enter 26 differences" }));
    expect((await screen.findByRole("alert")).textContent).toBe("Try again in a moment.");
    await screen.findByRole("button", { name: "Enter 1 difference" });
    expect(server.bodies("POST /usage/reconciliations/r1/correct")).toHaveLength(2);
  });

  it("of tokens alone says how its costs came about", async () => {
    const { user } = show({
      "POST /usage/reconciliations": result({ items: [line({ is_cost_computed: true })] }),
    });
    await choose(user);
    await screen.findByText(/The file has no costs, so they are computed from its tokens./);
  });

  it("of everybody says as whose its differences are entered", async () => {
    const { user } = show({ "POST /usage/reconciliations": result({ of: "everyone" }) });
    await choose(user);
    await screen.findByText("They are entered as your usage, because the bill does not say whose they are.");
    screen.getByRole("button", { name: "Enter 1 difference" });
  });

  it("that cannot be read says why", async () => {
    const { user } = show({
      "POST /usage/reconciliations": problem(422, "bill_unreadable", "Line 1 has no date."),
    });
    await choose(user);
    expect((await screen.findByRole("alert")).textContent).toBe("Line 1 has no date.");
  });
});
