import { screen } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { renderApp } from "@/test/render";
import { type Call, fakeServer } from "@/test/server";
import { PersonUse } from "./person-use";

const ADA = {
  user_id: "u1",
  plan_name: "Pro",
  plan_source: "hand",
  since: "2026-11-01T00:00:00Z",
  requests: 1,
  tokens: 300,
  cost: "1.25",
  nearest: {
    quota_id: "q1",
    subject_kind: "plan",
    subject_id: "p1",
    subject_name: null,
    set_by: "admin",
    window: "month",
    is_sliding: false,
    measure: "cost",
    limit: "2",
    used: "1.25",
    reserved: "0",
    left: "0.75",
    starts_at: null,
    resets_at: null,
  },
};

describe("the use of a person", () => {
  it("shows the plan, the month and the nearest limit, from any page", async () => {
    fakeServer({
      "GET /usage/people": (call: Call) =>
        call.query.get("cursor")
          ? { items: [ADA], next_cursor: null }
          : {
              items: [{ ...ADA, user_id: "u0", nearest: null, plan_name: null, requests: 0 }],
              next_cursor: "c",
            },
    });
    renderApp(
      <>
        <PersonUse userId="u1" />
        <PersonUse userId="u0" />
      </>,
    );
    await screen.findByText("Pro");
    screen.getByText("$1.25 this month, 1 request");
    screen.getByText("$1.25 of $2.00");
    screen.getByText("No plan");
    expect(screen.getAllByRole("meter")).toHaveLength(1);
  });
});
