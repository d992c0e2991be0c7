/** A period of whole local days, from the start of the first day to the end of the last. */
export type Period = { since: Date; until: Date };
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

const startOfDay = (moment: Date, days = 0) =>
  new Date(moment.getFullYear(), moment.getMonth(), moment.getDate() + days);
const startOfMonth = (moment: Date, months = 0) =>
  new Date(moment.getFullYear(), moment.getMonth() + months, 1);

/** Return the days of a span. `custom` is between two days such as `2026-11-22`, or the last 30 if they are missing. */
export function periodOf(span: Span, now: Date, from = "", to = ""): Period {
  switch (span) {
    case "month":
      return { since: startOfMonth(now), until: startOfMonth(now, 1) };
    case "last-month":
      return { since: startOfMonth(now, -1), until: startOfMonth(now) };
    case "custom": {
      const until = to ? startOfDay(new Date(`${to}T00:00`), 1) : startOfDay(now, 1);
      const since = from ? new Date(`${from}T00:00`) : startOfDay(until, -30);
      return since < until ? { since, until } : { since: startOfDay(until, -1), until };
    }
    default:
      return { since: startOfDay(now, 1 - Number(span)), until: startOfDay(now, 1) };
  }
}

/** Return the period of the same kind before a period: the month before a month, otherwise as many days before. */
export function periodBefore(span: Span, { since, until }: Period): Period {
  if (span === "month" || span === "last-month") return { since: startOfMonth(since, -1), until: since };
  return { since: new Date(since.getTime() - (until.getTime() - since.getTime())), until: since };
}

/** Return a day as the API names it, such as `2026-11-22`. */
export function dayName(moment: Date): string {
  return `${moment.getFullYear()}-${String(moment.getMonth() + 1).padStart(2, "0")}-${String(moment.getDate()).padStart(2, "0")}`;
}

/** List the days of a period. */
export function daysOf({ since, until }: Period): string[] {
  const days: string[] = [];
  for (let day = since; day < until; day = startOfDay(day, 1)) days.push(dayName(day));
  return days;
}

export type Pace = { day: string; spent: number | null; forecast: number | null }[];

/**
 * Return what was spent in all by the end of each day of a month, and what it will be at the pace so far.
 * The forecast begins where the known sum ends.
 */
export function paceOf(costs: Map<string, number>, month: Period, now: Date): Pace {
  const today = dayName(now);
  const days = daysOf(month);
  const passed = (now.getTime() - month.since.getTime()) / 86_400_000;
  let total = 0;
  for (const day of days) if (day <= today) total += costs.get(day) ?? 0;
  const perDay = passed > 0 ? total / passed : 0;
  let sum = 0;
  return days.map((day, index) => {
    if (day <= today) sum += costs.get(day) ?? 0;
    const ahead = index + 1 - passed;
    return {
      day,
      spent: day <= today ? sum : null,
      forecast: day >= today ? total + perDay * Math.max(0, ahead) : null,
    };
  });
}
