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
