import { expect, test } from "vitest";
import { costWords } from "./optimizations";

test("a summary never costs more than it saves without saying so", () => {
  expect(costWords({ cost: null, saved_cost: null })).toBe("");
  expect(costWords({ cost: null, saved_cost: "0.01" })).toMatch(/saves .* with each reply/);
  expect(costWords({ cost: "0.01", saved_cost: "0.02" })).toMatch(/less than it saves with the next reply/);
  expect(costWords({ cost: "0.05", saved_cost: "0.02" })).toMatch(/which it saves with 3 replies/);
  expect(costWords({ cost: "0.05", saved_cost: null })).toMatch(/cost \$0\.05$/);
});
