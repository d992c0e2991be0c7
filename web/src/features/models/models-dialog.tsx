import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { wholeNumber } from "@/lib/dates";
import { readKeptText } from "@/lib/kept-text";
import { Button } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Field } from "@/ui/field";
import { Tick } from "@/ui/tick";
import { countLeft, groupModels, SHOWN, USED } from "./groups";
import { type Model, modelKey, modelsQuery } from "./queries";

const MOST = 4; // the server's limit

type Wanted = { provider: string; model_name: string };
type Props = { verb: string; onChoose: (models: Wanted[]) => void; onClose: () => void };

/** Several models to answer side by side. */
export function ModelsDialog({ verb, onChoose, onClose }: Props) {
  const { data: models = [] } = useQuery(modelsQuery);
  const [chosen, setChosen] = useState<string[]>([]);
  const toggle = (key: string, isOn: boolean) =>
    setChosen((before) => (isOn ? [...before, key] : before.filter((model) => model !== key)));
  const wanted = models.filter((model) => chosen.includes(modelKey(model)));
  const [query, setQuery] = useState("");
  const others = useMemo(() => models.filter((model) => !chosen.includes(modelKey(model))), [models, chosen]);
  const groups = useMemo(
    () => groupModels(others, readKeptText(USED).split("\n"), query, SHOWN),
    [others, query],
  );
  const left = countLeft(others, groups, query);
  const row = (model: Model, isOn: boolean) => (
    <li key={modelKey(model)}>
      {/* biome-ignore lint/a11y/noLabelWithoutControl: the checkbox is inside it */}
      <label className="flex min-h-10 items-center gap-3 rounded-control px-2 py-1 hover:bg-surface-hover has-[[data-disabled]]:opacity-60">
        <Tick
          label={`${model.display_name}, ${model.provider_name}`}
          isOn={isOn}
          isDisabled={!isOn && chosen.length >= MOST}
          onChange={(on) => toggle(modelKey(model), on)}
        />
        <span className="min-w-0">
          <span className="block truncate">{model.display_name}</span>
          <span className="block text-text-muted text-xs">{model.provider_name}</span>
        </span>
      </label>
    </li>
  );
  return (
    <Dialog title="Ask several models" isOpen onClose={onClose}>
      <p className="pb-2 text-text-muted">
        At most {MOST} answer side by side. Each answer costs what its model costs.
      </p>
      <Field
        label="Search models"
        type="search"
        value={query}
        onChange={(event) => setQuery(event.target.value)}
      />
      {wanted.length > 0 && (
        <ul aria-label="Chosen" className="flex flex-col pt-2">
          {wanted.map((model) => row(model, true))}
        </ul>
      )}
      {groups.map(({ label, items }) => (
        <section key={label} aria-label={label}>
          <h3 className="px-2 pt-3 pb-1 text-text-muted text-xs">{label}</h3>
          <ul className="flex flex-col">{items.map((model) => row(model, false))}</ul>
        </section>
      ))}
      {groups.length === 0 && query.trim() !== "" && (
        <p className="px-2 py-4 text-text-muted">No other model has this name.</p>
      )}
      {left > 0 && (
        <p className="px-2 py-3 text-sm text-text-muted">
          {`${wholeNumber(left)} more. Type part of a name to see them.`}
        </p>
      )}
      <div className="-bottom-5 -mb-5 sticky flex justify-end bg-surface-raised pt-3 pb-5">
        <Button
          look="primary"
          disabled={wanted.length === 0}
          onClick={() => {
            onChoose(wanted.map(({ provider, model_name }) => ({ provider, model_name })));
            onClose();
          }}
        >
          {verb}
        </Button>
      </div>
    </Dialog>
  );
}
