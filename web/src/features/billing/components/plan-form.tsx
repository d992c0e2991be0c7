import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import type { Schemas } from "@/api/client";
import { wordsFor, wordsForField } from "@/api/words";
import { amountProblem, typedAmount, unitsOf } from "@/lib/money";
import { Button } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Field, TextField } from "@/ui/field";
import { Problem } from "@/ui/problem";
import { Tick } from "@/ui/tick";
import { createPlan, type Plan, updatePlan } from "../queries";

type Feature = Schemas["PlanFeature"];
const FEATURES: Record<Feature, string> = {
  tools: "Tools",
  web_search: "Web search",
  pictures: "Making pictures",
};
const INTERVALS = [
  { value: "", label: "No interval" },
  { value: "month", label: "Per month" },
  { value: "year", label: "Per year" },
  { value: "week", label: "Per week" },
  { value: "day", label: "Per day" },
];
const lines = (text: string) => text.split(/[\n,]/).flatMap((line) => line.trim() || []);

/** Create or change a plan. */
export function PlanForm({ plan, onDone }: { plan?: Plan; onDone: () => void }) {
  const [name, setName] = useState(plan?.name ?? "");
  const [description, setDescription] = useState(plan?.description ?? "");
  const [price, setPrice] = useState(
    plan?.price_minor == null ? "" : String(plan.price_minor / unitsOf(plan.currency ?? "")),
  );
  const [currency, setCurrency] = useState(plan?.currency ?? "");
  const [interval, setInterval] = useState(plan?.interval ?? "");
  const [models, setModels] = useState(plan?.models?.join("\n") ?? "");
  const [features, setFeatures] = useState<Feature[]>(plan?.features ?? (Object.keys(FEATURES) as Feature[]));
  const [isDefault, setDefault] = useState(plan?.is_default ?? false);
  const [isOffered, setOffered] = useState(plan?.is_offered ?? false);
  const [products, setProducts] = useState(
    plan?.products.map(({ source, product_id }) => `${source}:${product_id}`).join("\n") ?? "",
  );
  const saving = useMutation({
    mutationFn: () => {
      const body = {
        name: name.trim(),
        description: description.trim() || null,
        price_minor: price.trim() ? Math.round(Number(typedAmount(price)) * unitsOf(currency.trim())) : null,
        currency: currency.trim().toLowerCase() || null,
        interval: interval || null,
        models: lines(models).length > 0 ? lines(models) : null,
        features: features.length === Object.keys(FEATURES).length ? null : features,
        is_default: isDefault,
        is_offered: isOffered,
        products: lines(products).map((line) => {
          const [source, ...rest] = line.split(":");
          return { source, product_id: rest.join(":") };
        }),
      } as Schemas["PlanCreate"];
      return plan ? updatePlan(plan.id, body) : createPlan(body);
    },
    onSuccess: onDone,
  });
  const fieldError = (field: string) => wordsForField(saving.error, field);
  const priceProblem = amountProblem(price, Math.log10(unitsOf(currency.trim())));
  return (
    <form
      className="flex flex-col gap-4"
      onSubmit={(event) => {
        event.preventDefault();
        saving.mutate();
      }}
    >
      <Field
        label="Name"
        autoFocus
        maxLength={100}
        value={name}
        error={fieldError("name")}
        onChange={(event) => setName(event.target.value)}
      />
      <Field
        label="Description"
        maxLength={1000}
        value={description}
        onChange={(event) => setDescription(event.target.value)}
      />
      <div className="grid gap-4 sm:grid-cols-3">
        <Field
          label="Price shown"
          inputMode="decimal"
          value={price}
          error={priceProblem ?? fieldError("price_minor")}
          onChange={(event) => setPrice(event.target.value)}
        />
        <Field
          label="Currency"
          placeholder="eur"
          maxLength={3}
          value={currency}
          error={fieldError("currency") && "Three letters, such as eur."}
          onChange={(event) => setCurrency(event.target.value)}
        />
        <Choice label="Interval" showLabel value={interval} options={INTERVALS} onChoose={setInterval} />
      </div>
      <TextField
        label="Models"
        hint="One pattern per line, such as openai/* or anthropic/claude-haiku-*. Empty: every model."
        value={models}
        error={fieldError("models")}
        onChange={(event) => setModels(event.target.value)}
      />
      <fieldset className="flex flex-col gap-2">
        <legend className="pb-1 font-medium">Features</legend>
        {(Object.entries(FEATURES) as [Feature, string][]).map(([feature, label]) => (
          <span key={feature} className="flex items-center gap-3">
            <Tick
              label={label}
              isOn={features.includes(feature)}
              onChange={(isOn) =>
                setFeatures(isOn ? [...features, feature] : features.filter((known) => known !== feature))
              }
            />
            {label}
          </span>
        ))}
      </fieldset>
      <TextField
        label="Products"
        hint="What is sold as this plan: polar: or stripe: and the id of the product or price, one per line."
        value={products}
        error={fieldError("products")}
        onChange={(event) => setProducts(event.target.value)}
      />
      <span className="flex items-center gap-3">
        <Tick label="Default plan" isOn={isDefault} onChange={setDefault} />
        Default plan of people without another
      </span>
      <span className="flex items-center gap-3">
        <Tick label="Offer it" isOn={isOffered} onChange={setOffered} />
        Offer it, so that people can buy it
      </span>
      <Problem words={saving.error && wordsFor(saving.error)} />
      <Button
        look="primary"
        type="submit"
        className="self-start"
        disabled={!name.trim() || saving.isPending || Boolean(priceProblem)}
      >
        {plan ? "Save" : "Create plan"}
      </Button>
    </form>
  );
}
