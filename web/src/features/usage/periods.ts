/** A period of whole days, such as `2026-11-22`, from the first to the one after the last. */
export type Period = { since: string; until: string };
export type Span = "month" | "last-month" | "7" | "30" | "90" | "365" | "custom";

export const SPANS: { value: Span; label: string }[] = [
  { value: "month", label: "This month" },
  { value: "last-month", label: "Last month" },
  { value: "7", label: "Last 7 days" },
  { value: "30", label: "Last 30 days" },
  { value: "90", label: "Last 90 days" },
  { value: "365", label: "Last year" },
  { value: "custom", label: "Other days" },
];

/** A moment where the user is: the day, and how much of it has passed, from 0 to 1. */
export type Now = { day: string; passed: number };

const DAY_MS = 86_400_000;
const at = (day: string) => Date.parse(`${day}T00:00Z`);
const named = (time: number) => new Date(time).toISOString().slice(0, 10);
/** Say whether a day is one that can be asked for. While a year is typed, a date field gives others, such as 0002. */
const isDay = (day: string) => /^(19[789]\d|20\d\d|21\d\d)-\d\d-\d\d$/.test(day);
const daysAfter = (day: string, days: number) => named(at(day) + days * DAY_MS);
const lengthOf = ({ since, until }: Period) => Math.round((at(until) - at(since)) / DAY_MS);

function monthsAfter(day: string, months: number): string {
  const [year = 0, month = 1] = day.split("-").map(Number);
  return named(Date.UTC(year, month - 1 + months, 1));
}

/** Return which day and time it is in a time zone. */
export function nowIn(timeZone: string, moment = new Date()): Now {
  const parts = Object.fromEntries(
    new Intl.DateTimeFormat("en-US", {
      timeZone,
      year: "numeric",
      month: "2-digit",
      day: "2-digit",
      hour: "2-digit",
      minute: "2-digit",
      hourCycle: "h23",
    })
      .formatToParts(moment)
      .map(({ type, value }) => [type, value]),
  );
  return {
    day: `${parts.year}-${parts.month}-${parts.day}`,
    passed: (Number(parts.hour) * 60 + Number(parts.minute)) / 1440,
  };
}

/** Return the days of a span. `custom` is between two days, or the last 30 if they are missing. */
export function periodOf(span: Span, today: string, from = "", to = ""): Period {
  switch (span) {
    case "month":
      return { since: monthsAfter(today, 0), until: monthsAfter(today, 1) };
    case "last-month":
      return { since: monthsAfter(today, -1), until: monthsAfter(today, 0) };
    case "custom": {
      const until = daysAfter(isDay(to) ? to : today, 1);
      const since = isDay(from) ? from : daysAfter(until, -30);
      return since < until ? { since, until } : { since: daysAfter(until, -1), until };
    }
    default:
      return { since: daysAfter(today, 1 - Number(span)), until: daysAfter(today, 1) };
  }
}

/**
 * Return the period of the same kind before a period: as many days before it, or the month before a month. Of the month
 * before this one, only as many days as have begun.
 */
export function periodBefore(span: Span, period: Period, today: string): Period {
  const { since, until } = period;
  if (span !== "month" && span !== "last-month")
    return { since: daysAfter(since, -lengthOf(period)), until: since };
  const before = monthsAfter(since, -1);
  if (span === "last-month" || today >= until) return { since: before, until: since };
  const begun = lengthOf({ since, until: today }) + 1;
  const days = Math.min(begun, lengthOf({ since: before, until: since }));
  return { since: before, until: daysAfter(before, days) };
}

/** List the days of a period. */
export function daysOf(period: Period): string[] {
  return Array.from({ length: lengthOf(period) }, (_, index) => daysAfter(period.since, index));
}

export type Pace = { day: string; spent: number | null; forecast: number | null }[];

/**
 * Return what was spent in all by the end of each day of a month, and what it will be at the pace so far.
 * The forecast begins where the known sum ends.
 */
export function paceOf(costs: Map<string, number>, month: Period, now: Now): Pace {
  const days = daysOf(month);
  const passed = lengthOf({ since: month.since, until: now.day }) + now.passed;
  let total = 0;
  for (const day of days) if (day <= now.day) total += costs.get(day) ?? 0;
  const perDay = passed > 0 ? total / passed : 0;
  let sum = 0;
  return days.map((day, index) => {
    if (day <= now.day) sum += costs.get(day) ?? 0;
    const ahead = index + 1 - passed;
    return {
      day,
      spent: day <= now.day ? sum : null,
      forecast: day >= now.day ? total + perDay * Math.max(0, ahead) : null,
    };
  });
}
