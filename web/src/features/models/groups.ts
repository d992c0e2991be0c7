import { keepText, readKeptText } from "@/lib/kept-text";
import { type Model, modelKey } from "./queries";

export const USED = "models-used";
const REMEMBERED = 5;
export const SHOWN = 100; // rows at once: more are found by typing

export type ModelGroup = { label: string; items: Model[] };

/** Put a chosen model first among the recently used ones of this browser. */
export function rememberUsed(key: string): void {
  const before = readKeptText(USED).split("\n");
  keepText(USED, [key, ...before.filter((other) => other && other !== key)].slice(0, REMEMBERED).join("\n"));
}

/** Return whether every word of the query is in the model's names. */
export function matches(model: Model, query: string): boolean {
  const name =
    `${model.display_name} ${model.model_name} ${model.provider} ${model.provider_name}`.toLowerCase();
  return query
    .toLowerCase()
    .split(/\s+/)
    .every((word) => name.includes(word));
}

/** Name the vendor of a model: who answers, and whose model it is if that is another, as at OpenRouter. */
function vendorOf({ provider_name, model_name }: Model): string {
  const maker = model_name.includes("/") ? model_name.split("/")[0] : undefined;
  return maker ? `${provider_name} · ${maker}` : provider_name;
}

/** Group the models that fit the query: favourites, recently used, then by vendor; each once, `limit` at most. */
export function groupModels(models: Model[], used: string[], query: string, limit: number): ModelGroup[] {
  const fitting = models.filter((model) => model.available && matches(model, query));
  const byKey = new Map(fitting.map((model) => [modelKey(model), model]));
  const groups = new Map<string, Model[]>();
  const placed = new Set<string>();
  let left = limit;
  const place = (label: string, model: Model | undefined) => {
    if (!model || left === 0 || placed.has(modelKey(model))) return;
    placed.add(modelKey(model));
    left -= 1;
    const group = groups.get(label);
    if (group) group.push(model);
    else groups.set(label, [model]);
  };
  for (const model of fitting) if (model.is_favourite) place("Favourites", model);
  for (const key of used) place("Recently used", byKey.get(key));
  for (const model of fitting) place(vendorOf(model), model);
  return [...groups].map(([label, items]) => ({ label, items }));
}

/** Count the models that fit the query and are not shown. */
export function countLeft(models: Model[], groups: ModelGroup[], query: string): number {
  const fitting = models.filter((model) => model.available && matches(model, query)).length;
  return fitting - groups.reduce((sum, group) => sum + group.items.length, 0);
}
