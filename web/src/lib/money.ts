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
