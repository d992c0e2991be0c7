import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Trash2 } from "lucide-react";
import { useState } from "react";
import { wordsFor, wordsForField } from "@/api/words";
import { dayOf } from "@/lib/dates";
import { amountProblem, dollars, typedAmount } from "@/lib/money";
import { Button, IconButton } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Dialog } from "@/ui/dialog";
import { Field } from "@/ui/field";
import { Problem } from "@/ui/problem";
import { Badge, Row, Rows, Section } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import {
  createPrice,
  deletePrice,
  type ModelPrice,
  pricesQuery,
  setUnknownPrice,
  type UnknownPriceRule,
  unknownPricesQuery,
  vendorsQuery,
} from "../queries";

const RULES: { value: UnknownPriceRule; label: string; note: string }[] = [
  { value: "allow", label: "Allow", note: "Requests cost nothing in the limits" },
  { value: "count", label: "Count", note: "With the price for all models of the provider" },
  { value: "refuse", label: "Refuse", note: "Such models cannot be used" },
];
const LOCAL = { value: "local", label: "Built-in model" };

/** The prices that administrators enter, and what happens with models whose price is unknown. */
export function PriceList() {
  const client = useQueryClient();
  const { say, offerUndo } = useToast();
  const prices = useQuery(pricesQuery);
  const vendors = useQuery(vendorsQuery);
  const [isAdding, setAdding] = useState(false);
  const refresh = () => void client.invalidateQueries(pricesQuery);
  const names = [
    ...(vendors.data ?? []).map(({ id, display_name }) => ({ value: id, label: display_name })),
    LOCAL,
  ];
  const nameOf = (id: string) => names.find(({ value }) => value === id)?.label ?? id;
  const deleting = useMutation({
    mutationFn: (price: ModelPrice) => deletePrice(price.id),
    onSettled: refresh,
    onError: (error) => say(wordsFor(error)),
    onSuccess: (_, { id: _id, valid_until: _until, ...fields }) =>
      offerUndo("The price is deleted. What it was used for stays.", () => {
        void createPrice(fields)
          .catch((error: unknown) => say(wordsFor(error)))
          .finally(refresh);
      }),
  });
  return (
    <div className="flex flex-col gap-10">
      <Section
        title="Prices"
        hint="They count before the price list that Tertulia has. Use them for your own hardware and for agreed prices. Past costs stay."
        action={<Button onClick={() => setAdding(true)}>Enter a price</Button>}
      >
        {prices.isPending ? (
          <Lines widths={["w-2/3", "w-1/2"]} />
        ) : prices.isError ? (
          <Failed words={wordsFor(prices.error)} onRetry={() => void prices.refetch()} />
        ) : prices.data.length === 0 ? (
          <p className="text-text-muted">No price is entered.</p>
        ) : (
          <Rows>
            {prices.data.map((price) => (
              <Row
                key={price.id}
                actions={
                  <IconButton
                    label={`Delete the price of ${price.model_name ?? nameOf(price.provider)}`}
                    onClick={() => deleting.mutate(price)}
                  >
                    <Trash2 size={16} strokeWidth={1.5} aria-hidden />
                  </IconButton>
                }
              >
                <p className="flex flex-wrap items-center gap-2">
                  {price.model_name ?? "Models without a price"}
                  <Badge>{nameOf(price.provider)}</Badge>
                </p>
                <p className="text-sm text-text-muted">
                  {amountsOf(price)} · from {dayOf(price.valid_from)}
                  {price.valid_until && ` until ${dayOf(price.valid_until)}`}
                </p>
              </Row>
            ))}
          </Rows>
        )}
        <Dialog title="Enter a price" isOpen={isAdding} onClose={() => setAdding(false)}>
          {isAdding && (
            <PriceForm
              providers={names}
              onDone={() => {
                setAdding(false);
                refresh();
              }}
            />
          )}
        </Dialog>
      </Section>
      <UnknownPrices providers={names} />
    </div>
  );
}

/** Say the amounts of a price, such as `$2.50 in, $10.00 out per million tokens`. */
function amountsOf(price: ModelPrice): string {
  const { input_price, output_price, cached_price, cache_write_price, hour_price } = price;
  const tokens = [
    `${dollars(input_price)} in`,
    cached_price !== null && `${dollars(cached_price)} from the cache`,
    cache_write_price !== null && `${dollars(cache_write_price)} into the cache`,
    `${dollars(output_price)} out per million tokens`,
  ];
  const hasTokens = Number(input_price) > 0 || Number(output_price) > 0 || hour_price === null;
  return [
    hasTokens && tokens.filter(Boolean).join(", "),
    hour_price !== null && `${dollars(hour_price)} per hour`,
  ]
    .filter(Boolean)
    .join(", ");
}

function PriceForm({
  providers,
  onDone,
}: {
  providers: { value: string; label: string }[];
  onDone: () => void;
}) {
  const [provider, setProvider] = useState(providers[0]?.value ?? LOCAL.value);
  const [model, setModel] = useState("");
  const [input, setInput] = useState("");
  const [output, setOutput] = useState("");
  const [cached, setCached] = useState("");
  const [written, setWritten] = useState("");
  const [hour, setHour] = useState("");
  const [from, setFrom] = useState("");
  const adding = useMutation({
    mutationFn: () =>
      createPrice({
        provider,
        model_name: model.trim() || null,
        input_price: typedAmount(input) ?? "0",
        output_price: typedAmount(output) ?? "0",
        cached_price: typedAmount(cached) ?? null,
        cache_write_price: typedAmount(written) ?? null,
        hour_price: typedAmount(hour) ?? null,
        valid_from: from ? new Date(`${from}T00:00`).toISOString() : null,
      }),
    onSuccess: onDone,
  });
  const fieldError = (field: string) => wordsForField(adding.error, field);
  const amount = (
    label: string,
    field: string,
    value: string,
    set: (value: string) => void,
    hint?: string,
  ) => (
    <Field
      label={label}
      inputMode="decimal"
      hint={hint}
      value={value}
      error={amountProblem(value) ?? fieldError(field)}
      onChange={(event) => set(event.target.value)}
    />
  );
  const isShown = [
    "model_name",
    "input_price",
    "output_price",
    "cached_price",
    "cache_write_price",
    "hour_price",
    "valid_from",
  ].some(fieldError);
  return (
    <form
      className="flex flex-col gap-4"
      onSubmit={(event) => {
        event.preventDefault();
        adding.mutate();
      }}
    >
      <Choice label="Provider" showLabel value={provider} options={providers} onChoose={setProvider} />
      <Field
        label="Model"
        hint="Empty: all models of the provider whose price is unknown"
        maxLength={100}
        value={model}
        error={fieldError("model_name")}
        onChange={(event) => setModel(event.target.value)}
      />
      {amount("Input, dollars per million tokens", "input_price", input, setInput)}
      {amount("Output, dollars per million tokens", "output_price", output, setOutput)}
      {amount(
        "From the cache, dollars per million tokens",
        "cached_price",
        cached,
        setCached,
        "Empty: as the input",
      )}
      {amount(
        "Into the cache, dollars per million tokens",
        "cache_write_price",
        written,
        setWritten,
        "Empty: as the input",
      )}
      {amount("Dollars per hour of generating", "hour_price", hour, setHour, "For your own hardware")}
      <Field
        label="From"
        type="date"
        hint="Empty: from now on"
        value={from}
        error={fieldError("valid_from")}
        onChange={(event) => setFrom(event.target.value)}
      />
      <Problem words={adding.error && !isShown && wordsFor(adding.error)} />
      <Button
        look="primary"
        type="submit"
        className="self-start"
        disabled={
          adding.isPending ||
          !(input || output || hour) ||
          [input, output, cached, written, hour].some((value) => amountProblem(value))
        }
      >
        Enter
      </Button>
    </form>
  );
}

function UnknownPrices({ providers }: { providers: { value: string; label: string }[] }) {
  const client = useQueryClient();
  const { say } = useToast();
  const rules = useQuery(unknownPricesQuery);
  const [provider, setProvider] = useState<string>();
  const setting = useMutation({
    mutationFn: ({ id, rule }: { id: string; rule: UnknownPriceRule }) => setUnknownPrice(id, rule),
    onSettled: () => client.invalidateQueries(unknownPricesQuery),
    onError: (error) => say(wordsFor(error)),
  });
  const ruleOf = (id: string) => rules.data?.find((item) => item.provider === id)?.rule ?? "allow";
  const chosen = provider ?? providers[0]?.value ?? LOCAL.value;
  return (
    <Section title="Models without a price" hint="What happens when the price of a model is unknown.">
      <div className="flex flex-wrap items-end gap-3">
        <Choice label="Provider" value={chosen} options={providers} onChoose={setProvider} />
        <Choice
          label="Without a price"
          value={ruleOf(chosen)}
          options={RULES}
          onChoose={(rule) => setting.mutate({ id: chosen, rule: rule as UnknownPriceRule })}
        />
      </div>
      {rules.data?.some((item) => item.rule !== "allow") && (
        <ul className="text-sm text-text-muted">
          {rules.data
            .filter((item) => item.rule !== "allow")
            .map((item) => (
              <li key={item.provider}>
                {providers.find(({ value }) => value === item.provider)?.label ?? item.provider}:{" "}
                {RULES.find(({ value }) => value === item.rule)?.label.toLowerCase()}
              </li>
            ))}
        </ul>
      )}
    </Section>
  );
}
