import { screen } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { renderApp } from "@/test/render";
import { fakeServer, problem } from "@/test/server";
import { ProjectUse } from "./project-use";

describe("the costs of a project", () => {
  it("are those of everyone this month", async () => {
    fakeServer({
      "GET /usage/projects/p1": {
        project_id: "p1",
        since: "2026-11-01T00:00:00Z",
        requests: 34,
        tokens: 12_000,
        cost: "1.2",
      },
    });
    renderApp(<ProjectUse projectId="p1" />);
    expect((await screen.findByText(/this month/)).textContent).toBe(
      "$1.20 this month · 34 requests · 12,000 tokens",
    );
  });

  it("offer to try again", async () => {
    fakeServer({
      "GET /usage/projects/p1": problem(503, "storage_unavailable", "The database does not answer."),
    });
    renderApp(<ProjectUse projectId="p1" />);
    await screen.findByText("The database does not answer.");
  });
});
