import { describe, expect, it } from "vitest";
import { daysOf, nowIn, paceOf, periodBefore, periodOf } from "./periods";

const TODAY = "2026-11-11";
const words = ({ since, until }: { since: string; until: string }) => [since, until];

describe("a period", () => {
  it.each([
    ["month", ["2026-11-01", "2026-12-01"], ["2026-10-01", "2026-10-12"]],
    ["last-month", ["2026-10-01", "2026-11-01"], ["2026-09-01", "2026-10-01"]],
    ["7", ["2026-11-05", "2026-11-12"], ["2026-10-29", "2026-11-05"]],
  ] as const)("of %s has whole days, as has the one before", (span, days, before) => {
    const period = periodOf(span, TODAY);
    expect(words(period)).toEqual(days);
    expect(words(periodBefore(span, period, TODAY))).toEqual(before);
  });

  it("of a longer month is compared with all of a shorter one", () => {
    const today = "2026-03-31";
    expect(words(periodBefore("month", periodOf("month", today), today))).toEqual([
      "2026-02-01",
      "2026-03-01",
    ]);
  });

  it("of chosen days includes the last of them", () => {
    expect(words(periodOf("custom", TODAY, "2026-11-03", "2026-11-05"))).toEqual([
      "2026-11-03",
      "2026-11-06",
    ]);
    expect(words(periodOf("custom", TODAY, "2026-11-09", "2026-11-05"))).toEqual([
      "2026-11-05",
      "2026-11-06",
    ]);
    for (const typed of ["0002-11-03", "9999-12-31", "123456-01-01"])
      expect(words(periodOf("custom", TODAY, typed, typed))).toEqual(["2026-10-13", "2026-11-12"]);
  });

  it("is that of the time zone, also where the clock changes", () => {
    const moment = new Date("2026-10-25T23:30:00Z"); // the day on which summer time ends in Madrid
    expect(nowIn("Europe/Madrid", moment)).toEqual({ day: "2026-10-26", passed: 0.5 / 24 });
    expect(nowIn("America/New_York", moment)).toEqual({ day: "2026-10-25", passed: 19.5 / 24 });
    expect(daysOf({ since: "2026-10-24", until: "2026-10-27" })).toEqual([
      "2026-10-24",
      "2026-10-25",
      "2026-10-26",
    ]);
  });
});

describe("the pace of a month", () => {
  it("goes on as it was so far", () => {
    const month = periodOf("month", TODAY);
    const pace = paceOf(new Map([["2026-11-01", 10]]), month, { day: TODAY, passed: 0 }); // ten days have passed
    expect(pace).toHaveLength(daysOf(month).length);
    expect(pace[0]).toEqual({ day: "2026-11-01", spent: 10, forecast: null });
    expect(pace[10]).toEqual({ day: "2026-11-11", spent: 10, forecast: 11 });
    expect(pace.at(-1)).toEqual({ day: "2026-11-30", spent: null, forecast: 30 });
  });
});
