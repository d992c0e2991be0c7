import type { Schemas } from "@/api/client";
import { wholeNumber } from "@/lib/dates";
import { dollars } from "@/lib/money";
import type { Model } from "./queries";

export type Effort = NonNullable<Schemas["SettingsRead"]["reasoning_effort"]>;

export const EFFORT_WORDS: Record<Effort, string> = {
  none: "No thinking",
  minimal: "Minimal thinking",
  low: "Low thinking",
  medium: "Medium thinking",
  high: "High thinking",
  max: "Maximum thinking",
};

/** What a model can do, in words for its row. */
export function abilityWords({ capabilities }: Model): string[] {
  const { vision, reasoning, tools, web_search, inputs, pictures } = capabilities;
  const files = inputs.filter((kind) => kind !== "picture");
  return [
    vision && "sees",
    reasoning && "thinks",
    tools && "tools",
    web_search !== "no" && "searches",
    pictures !== "no" && "draws",
    files.length > 0 && `reads ${files.map((kind) => (kind === "pdf" ? "PDF" : kind)).join(", ")}`,
  ].filter((word) => typeof word === "string");
}

export function windowWords({ context_window }: Model): string | undefined {
  if (!context_window) return undefined;
  if (context_window >= 1_000_000) return `${Math.round(context_window / 100_000) / 10} M tokens`;
  return context_window >= 1000 ? `${wholeNumber(Math.round(context_window / 1000))} k tokens` : undefined;
}

/** The prices of a million tokens that are read and written. */
export function priceWords({ input_price, output_price }: Model): string | undefined {
  if (input_price === null || output_price === null) return undefined;
  if (Number(input_price) === 0 && Number(output_price) === 0) return "free";
  return `${dollars(input_price)} / ${dollars(output_price)} per million`;
}
