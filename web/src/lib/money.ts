import { languageOf } from "./dates";

/** Format dollars: two decimals, or as many as a small amount needs. */
export function dollars(amount: string | number): string {
  const value = Number(amount);
  const places = value === 0 || value >= 0.995 ? 2 : value >= 0.01 ? 3 : 6;
  return value.toLocaleString(languageOf(), {
    style: "currency",
    currency: "USD",
    minimumFractionDigits: 2,
    maximumFractionDigits: places,
  });
}

/** Return a typed amount as the API takes it, such as 12.5 for 12,5, or undefined if it is none. */
export function typedAmount(typed: string): string | undefined {
  return amountProblem(typed) ? undefined : typed.trim().replace(",", ".") || undefined;
}

/** Say what is wrong with a typed amount, which may have so many decimals. Nothing for an empty one. */
export function amountProblem(typed: string, places = 6): string | undefined {
  const text = typed.trim();
  if (/^[1-9]\d{0,2}(,\d{3})+$/.test(text))
    return `Write ${text.replaceAll(",", "")}, or a point for decimals. A comma here could mean either.`;
  if (text && !/^\d{1,15}([.,]\d+)?$/.test(text)) return "Enter a number, such as 20.";
  if ((text.split(/[.,]/)[1] ?? "").length <= places) return undefined;
  return places === 0 ? "Enter a whole number, such as 20." : `Enter at most ${places} decimals.`;
}

/** Return how many minor units a unit of a currency has: 100 cents, or 1 yen. */
export function unitsOf(currency: string): number {
  try {
    const format = new Intl.NumberFormat("en", { style: "currency", currency: currency.toUpperCase() });
    return 10 ** (format.resolvedOptions().maximumFractionDigits ?? 2);
  } catch {
    return 100; // not a currency, which the server says
  }
}

/** Format an amount in minor units of a currency, such as 1200 euro cents. */
export function minorAmount(minor: number, currency: string): string {
  const format = new Intl.NumberFormat(languageOf(), { style: "currency", currency: currency.toUpperCase() });
  return format.format(minor / unitsOf(currency));
}

type Priced = { price_minor: number | null; currency: string | null; interval: string | null };

/** Say what a plan costs, such as `€12.00 per month`, or nothing if no price is shown. */
export function priceWords({ price_minor, currency, interval }: Priced): string | undefined {
  if (price_minor === null) return undefined;
  const amount = currency ? minorAmount(price_minor, currency) : (price_minor / 100).toFixed(2);
  return interval ? `${amount} per ${interval}` : amount;
}
