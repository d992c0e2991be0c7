import { useQuery } from "@tanstack/react-query";
import { Choice } from "@/ui/choice";
import { modelKey, modelStateWords, modelsQuery } from "./queries";

type Props = {
  value: { provider: string; model_name: string } | undefined;
  onChoose: (provider: string, modelName: string) => void;
  label?: string;
  showLabel?: boolean;
};

/** Choose the model that answers. Without a choice the default is used, which is marked. */
export function ModelChoice({ value, onChoose, label = "Model", showLabel }: Props) {
  const { data: models = [] } = useQuery(modelsQuery);
  const shown = value ?? models.find((model) => model.is_default);
  const options = models.map((model) => ({
    value: modelKey(model),
    label: model.display_name,
    note: modelStateWords(model) ?? (model.is_default ? `${model.provider} · default` : model.provider),
  }));
  if (shown && !options.some((option) => option.value === modelKey(shown)))
    options.push({ value: modelKey(shown), label: shown.model_name, note: `${shown.provider} · not listed` });
  if (!shown) return <span className="px-2 text-sm text-text-muted">No model yet</span>;
  return (
    <Choice
      label={label}
      showLabel={showLabel}
      value={modelKey(shown)}
      options={options}
      className={showLabel ? undefined : "max-w-64 text-sm text-text-muted"}
      onChoose={(chosen) => {
        const at = chosen.indexOf("/");
        onChoose(chosen.slice(0, at), chosen.slice(at + 1));
      }}
    />
  );
}
