import { describe, expect, it } from "vitest";
import { daysOf, paceOf, periodBefore, periodOf } from "./periods";

const NOW = new Date(2026, 10, 11, 0, 0);
const words = ({ since, until }: { since: Date; until: Date }) =>
  [since, until].map((moment) => `${moment.getFullYear()}-${moment.getMonth() + 1}-${moment.getDate()}`);

describe("a period", () => {
  it.each([
    ["month", ["2026-11-1", "2026-12-1"], ["2026-10-1", "2026-11-1"]],
    ["last-month", ["2026-10-1", "2026-11-1"], ["2026-9-1", "2026-10-1"]],
    ["7", ["2026-11-5", "2026-11-12"], ["2026-10-29", "2026-11-5"]],
  ] as const)("of %s has whole days, as has the one before", (span, days, before) => {
    const period = periodOf(span, NOW);
    expect(words(period)).toEqual(days);
    expect(words(periodBefore(span, period))).toEqual(before);
  });

  it("of chosen days includes the last of them", () => {
    expect(words(periodOf("custom", NOW, "2026-11-03", "2026-11-05"))).toEqual(["2026-11-3", "2026-11-6"]);
    expect(words(periodOf("custom", NOW, "2026-11-09", "2026-11-05"))).toEqual(["2026-11-5", "2026-11-6"]);
  });
});

describe("the pace of a month", () => {
  it("goes on as it was so far", () => {
    const month = periodOf("month", NOW);
    const pace = paceOf(new Map([["2026-11-01", 10]]), month, NOW); // ten days have passed
    expect(pace).toHaveLength(daysOf(month).length);
    expect(pace[0]).toEqual({ day: "2026-11-01", spent: 10, forecast: null });
    expect(pace[10]).toEqual({ day: "2026-11-11", spent: 10, forecast: 11 });
    expect(pace.at(-1)).toEqual({ day: "2026-11-30", spent: null, forecast: 30 });
  });
});
