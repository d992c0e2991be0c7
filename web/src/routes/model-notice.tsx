import { useQuery } from "@tanstack/react-query";
import { modelStateWords, modelsQuery } from "@/features/models";

/** A notice while the built-in model is downloading or unavailable. */
export function ModelNotice() {
  const { data: models } = useQuery(modelsQuery);
  if (!models) return null;
  const local = models.find((model) => model.provider === "local");
  const words =
    models.length === 0
      ? "There is no model here yet. Add a provider under Settings, Providers."
      : local?.is_default
        ? modelStateWords(local)
        : undefined;
  if (!words) return null;
  const progress = local?.state?.phase === "fetching" ? (local.state.progress ?? 0) : undefined;
  return (
    <div role="status" className="mx-auto w-full max-w-read px-6 pb-2 text-sm text-text-muted">
      {words}
      {progress !== undefined && (
        <progress
          aria-label="Fetched of the built-in model"
          value={progress}
          max={1}
          className="mt-1 block h-1 w-full appearance-none overflow-hidden rounded-full bg-surface-hover [&::-moz-progress-bar]:bg-accent [&::-webkit-progress-bar]:bg-surface-hover [&::-webkit-progress-value]:bg-accent"
        />
      )}
    </div>
  );
}
