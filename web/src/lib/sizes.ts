import { languageOf } from "./dates";

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte"] as const;

/** Format a number of bytes in the unit that keeps it short. */
export function fileSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return new Intl.NumberFormat(languageOf(), {
    style: "unit",
    unit: UNITS[unit],
    unitDisplay: unit ? "short" : "long",
    maximumFractionDigits: value < 10 && unit ? 1 : 0,
  }).format(value);
}
