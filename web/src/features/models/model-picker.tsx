import { Combobox } from "@base-ui/react/combobox";
import { useQuery } from "@tanstack/react-query";
import { Check, ChevronsUpDown, Star } from "lucide-react";
import { useMemo, useState } from "react";
import { readKeptText } from "@/lib/kept-text";
import { cx } from "@/ui/class-names";
import { abilityWords, priceWords, windowWords } from "./abilities";
import { countLeft, groupModels, rememberUsed, SHOWN, USED } from "./groups";
import { type Model, modelKey, modelStateWords, modelsQuery, useFavourite } from "./queries";

type Props = {
  value: { provider: string; model_name: string } | undefined;
  onChoose: (provider: string, modelName: string) => void;
  label?: string;
  showLabel?: boolean;
};

/** Choose the model that answers: by search, favourites, recent use and vendor. Without a choice the default is used. */
export function ModelPicker({ value, onChoose, label = "Model", showLabel }: Props) {
  const { data: models = [] } = useQuery(modelsQuery);
  const toggleFavourite = useFavourite();
  const [query, setQuery] = useState("");
  const [highlighted, setHighlighted] = useState<Model>();
  const shown = value ?? models.find((model) => model.is_default);
  const key = shown && modelKey(shown);
  const chosen = models.find((model) => modelKey(model) === key);
  const groups = useMemo(
    () => groupModels(models, readKeptText(USED).split("\n"), query, SHOWN),
    [models, query],
  );
  const left = useMemo(() => countLeft(models, groups, query), [models, groups, query]);
  if (!shown) return <span className="px-2 text-sm text-text-muted">No model yet</span>;
  return (
    <Combobox.Root
      items={groups}
      filter={null}
      autoHighlight
      value={chosen ?? null}
      inputValue={query}
      onInputValueChange={setQuery}
      onOpenChange={(isOpen) => isOpen && setQuery("")}
      onItemHighlighted={setHighlighted}
      itemToStringLabel={(model: Model) => model.display_name}
      isItemEqualToValue={(a: Model, b: Model) => modelKey(a) === modelKey(b)}
      onValueChange={(model: Model | null) => {
        if (!model) return;
        rememberUsed(modelKey(model));
        onChoose(model.provider, model.model_name);
      }}
    >
      <div className={cx("flex min-w-0 flex-col gap-1", !showLabel && "items-start")}>
        {showLabel && <Combobox.Label className="font-medium">{label}</Combobox.Label>}
        <Combobox.Trigger
          aria-label={`${label}: ${chosen?.display_name ?? shown.model_name}`}
          className={cx(
            "flex min-h-9 min-w-0 max-w-full items-center gap-2 rounded-control px-2 text-left hover:bg-surface-hover data-[popup-open]:bg-surface-hover",
            showLabel
              ? "border border-hairline-strong bg-surface-raised px-3"
              : "max-w-64 text-sm text-text-muted",
          )}
        >
          <span className="min-w-0 flex-1 truncate">{chosen?.display_name ?? shown.model_name}</span>
          <ChevronsUpDown size={14} strokeWidth={1.5} aria-hidden className="text-text-muted" />
        </Combobox.Trigger>
      </div>
      <Combobox.Portal>
        <Combobox.Positioner sideOffset={4} align="start" className="z-50">
          <Combobox.Popup
            aria-label={label}
            className="flex max-h-[min(28rem,var(--available-height))] w-[min(26rem,92vw)] flex-col rounded-card border border-hairline bg-surface-raised shadow-float outline-none"
          >
            <Combobox.Input
              placeholder="Search models"
              aria-label="Search models"
              aria-keyshortcuts="Alt+F"
              onKeyDown={(event) => {
                const marked = models.find(
                  (model) => highlighted && modelKey(model) === modelKey(highlighted),
                );
                if (!event.altKey || event.code !== "KeyF" || !marked) return;
                event.preventDefault();
                toggleFavourite(marked);
              }}
              className="min-h-11 w-full border-hairline border-b bg-transparent px-3 outline-none placeholder:text-text-muted"
            />
            <Combobox.Empty className="px-3 py-4 text-text-muted empty:hidden">
              No model has this name. Add a provider in the settings, or shorten the search.
            </Combobox.Empty>
            <Combobox.List className="min-h-0 overflow-y-auto p-1 empty:hidden">
              {(group: { label: string; items: Model[] }) => (
                <Combobox.Group key={group.label} items={group.items}>
                  <Combobox.GroupLabel className="px-2 pt-2 pb-1 text-text-muted text-xs">
                    {group.label}
                  </Combobox.GroupLabel>
                  <Combobox.Collection>
                    {(model: Model) => (
                      <Row key={modelKey(model)} model={model} onFavourite={() => toggleFavourite(model)} />
                    )}
                  </Combobox.Collection>
                </Combobox.Group>
              )}
            </Combobox.List>
            <p className="border-hairline border-t px-3 py-2 text-text-muted text-xs pointer-coarse:hidden">
              <kbd>Alt</kbd> <kbd>F</kbd> adds the marked model to your favourites or removes it.
            </p>
            {left > 0 && (
              <p className="border-hairline border-t px-3 py-2 text-sm text-text-muted">
                {`${left.toLocaleString()} more. Type part of a name to see them.`}
              </p>
            )}
          </Combobox.Popup>
        </Combobox.Positioner>
      </Combobox.Portal>
    </Combobox.Root>
  );
}

function Row({ model, onFavourite }: { model: Model; onFavourite: () => void }) {
  const facts = [
    modelStateWords(model) ?? (model.is_default ? "default" : undefined),
    ...abilityWords(model),
    windowWords(model),
    priceWords(model),
  ].filter(Boolean);
  return (
    <Combobox.Item
      value={model}
      className="grid min-h-11 cursor-default grid-cols-[1rem_1fr_auto] items-center gap-2 rounded-control px-2 py-1 outline-none data-[highlighted]:bg-surface-hover"
    >
      <Combobox.ItemIndicator>
        <Check size={14} strokeWidth={1.5} aria-hidden />
      </Combobox.ItemIndicator>
      <span className="col-start-2 min-w-0">
        <span className="block truncate">{model.display_name}</span>
        <span className="block text-text-muted text-xs">{facts.join(" · ")}</span>
      </span>
      <button
        type="button"
        tabIndex={-1}
        aria-label={model.is_favourite ? "Remove from favourites" : "Add to favourites"}
        aria-pressed={model.is_favourite}
        className="inline-flex size-8 items-center justify-center rounded-control text-text-muted hover:text-text pointer-coarse:size-11"
        onPointerDown={(event) => event.stopPropagation()}
        onClick={(event) => {
          event.stopPropagation();
          event.preventDefault();
          onFavourite();
        }}
      >
        <Star size={16} strokeWidth={1.5} aria-hidden fill={model.is_favourite ? "currentColor" : "none"} />
      </button>
    </Combobox.Item>
  );
}
