import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Button } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Tick } from "@/ui/tick";
import { modelKey, modelsQuery } from "./queries";

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
  return (
    <Dialog title="Ask several models" isOpen onClose={onClose}>
      <p className="pb-2 text-text-muted">
        At most {MOST} answer side by side. Each answer costs what its model costs.
      </p>
      <ul className="flex flex-col">
        {models.map((model) => {
          const key = modelKey(model);
          const isOn = chosen.includes(key);
          return (
            <li key={key}>
              {/* biome-ignore lint/a11y/noLabelWithoutControl: the checkbox is inside it */}
              <label className="flex min-h-10 items-center gap-3 rounded-control px-2 py-1 hover:bg-surface-hover has-[[data-disabled]]:opacity-60">
                <Tick
                  label={`${model.display_name}, ${model.provider}`}
                  isOn={isOn}
                  isDisabled={!isOn && (chosen.length >= MOST || !model.available)}
                  onChange={(on) => toggle(key, on)}
                />
                <span className="min-w-0">
                  <span className="block truncate">{model.display_name}</span>
                  <span className="block text-text-muted text-xs">{model.provider}</span>
                </span>
              </label>
            </li>
          );
        })}
      </ul>
      <div className="sticky bottom-0 flex justify-end bg-surface-raised pt-3">
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
