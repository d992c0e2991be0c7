/** The language of dates and numbers: the user's choice, otherwise the browser's. */
let language: string | undefined;

export function setLanguage(chosen: string | null | undefined): void {
  language = chosen || undefined;
}

export function languageOf(): string | undefined {
  return language;
}

const DAY = 86_400_000;

function startOfDay(moment: Date): number {
  return new Date(moment.getFullYear(), moment.getMonth(), moment.getDate()).getTime();
}

/** Return the heading of a chat in the side bar. */
export function dayGroup(moment: string, now: Date = new Date()): string {
  const days = Math.round((startOfDay(now) - startOfDay(new Date(moment))) / DAY);
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  if (days < 7) return "Last 7 days";
  if (days < 30) return "Last 30 days";
  return new Date(moment).toLocaleDateString(language, { month: "long", year: "numeric" });
}

/** Return a day, such as `Nov 22, 2026`. */
export function dayOf(moment: string): string {
  return new Date(moment).toLocaleDateString(language, { dateStyle: "medium" });
}

export function exactTime(moment: string): string {
  return new Date(moment).toLocaleString(language, { dateStyle: "full", timeStyle: "medium" });
}

export function relativeTime(moment: string, now: Date = new Date()): string {
  const then = new Date(moment);
  const minutes = Math.round((now.getTime() - then.getTime()) / 60_000);
  const words = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "narrow" });
  if (minutes < 1) return words.format(0, "second");
  if (minutes < 60) return words.format(-minutes, "minute");
  if (startOfDay(now) === startOfDay(then)) return then.toLocaleTimeString(language, { timeStyle: "short" });
  return then.toLocaleDateString(language, { day: "numeric", month: "short", year: "numeric" });
}

export function wholeNumber(value: number): string {
  return value.toLocaleString(language);
}

/** Return a short form of a day such as `2026-11-22`. */
export function shortDay(day: string): string {
  return new Date(`${day}T00:00`).toLocaleDateString(language, { day: "numeric", month: "short" });
}
