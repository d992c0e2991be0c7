import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { dollars } from "@/lib/money";
import { useSettled } from "@/lib/use-settled";
import { Button } from "@/ui/button";
import { forecastQuery, type ModelRef, type NextMessage } from "../queries";

const STEP = 200; // characters: typing does not ask for each letter
const PAUSE_MS = 400;

type Props = { chatId?: string; models: ModelRef[]; next: NextMessage };

/** What the message being written costs. Nothing is shown until something is written, or if the price is unknown or 0. */
export function Forecast({ chatId, models, next }: Props) {
  const characters = useSettled(Math.ceil(next.characters / STEP) * STEP, PAUSE_MS);
  const isWritten = next.characters > 0 || next.pictures > 0;
  const { data } = useQuery({
    ...forecastQuery(chatId, models, { characters, pictures: next.pictures }),
    enabled: isWritten && characters + next.pictures > 0,
    placeholderData: keepPreviousData,
  });
  // On a machine of the user's own, a reply costs nothing.
  if (!isWritten || !data?.expected_cost || !Number(data.most_cost)) return null;
  return (
    <span
      className="shrink-0 px-1 text-sm text-text-muted tabular-nums"
      title="Expected from earlier replies, and at most."
    >
      <span className="sr-only">This message costs about </span>≈ {wordsForRange(data)}
      <span className="sr-only">, at most </span>
      <span aria-hidden> · ≤ </span>
      {dollars(data.most_cost ?? 0)}
    </span>
  );
}

/** Say what a reply costs: one amount, or a range if its tools make several requests likely. */
export function wordsForRange(costs: {
  expected_cost: string | null;
  low_cost: string | null;
  high_cost: string | null;
}): string {
  const { expected_cost, low_cost, high_cost } = costs;
  if (low_cost && high_cost && dollars(low_cost) !== dollars(high_cost))
    return `${dollars(low_cost)} to ${dollars(high_cost)}`;
  return dollars(expected_cost ?? 0);
}

type OfferProps = {
  chatId: string;
  model?: ModelRef;
  verb: string; // what the button does with the model, such as "Answer with"
  onChoose: (model: ModelRef) => void;
};

/** Where a limit is reached: a model of the same provider that costs at most half, with both costs. */
export function CheaperModel({ chatId, model, verb, onChoose }: OfferProps) {
  const { data } = useQuery(forecastQuery(chatId, model ? [model] : [], undefined, true));
  const item = data?.items[0];
  if (!item?.cheaper || item.expected_cost === null) return null;
  const { provider, model_name, expected_cost } = item.cheaper;
  return (
    <Button onClick={() => onChoose({ provider, model_name })}>
      {verb} {model_name}: about {dollars(expected_cost)} instead of {dollars(item.expected_cost)}
    </Button>
  );
}
