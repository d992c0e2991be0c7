import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { useCallback } from "react";
import { api, type Schemas } from "@/api/client";
import { wordsFor } from "@/api/words";
import { useToast } from "@/ui/toast";

export type Model = Schemas["ModelRead"];

/** The available models. Refetched each second while the built-in model is downloading or loading. */
export const modelsQuery = queryOptions({
  queryKey: ["models"],
  queryFn: ({ signal }) => api<Schemas["ModelList"]>("GET", "/models", { signal }).then((list) => list.items),
  staleTime: 60_000,
  refetchInterval: (query) => {
    const phase = query.state.data?.find((model) => model.provider === "local")?.state?.phase;
    return phase === "fetching" || phase === "loading" ? 1000 : false;
  },
});

/** Add a model to the favourites or remove it, at once on the screen. */
export function useFavourite() {
  const client = useQueryClient();
  const { say } = useToast();
  const { mutate } = useMutation({
    mutationFn: ({ provider, model_name, is_favourite }: Schemas["FavouriteModel"]) =>
      api("PUT", "/models/favourite", { body: { provider, model_name, is_favourite } }),
    onMutate: (wanted) =>
      client.setQueryData<Model[]>(["models"], (models) =>
        models?.map((model) =>
          modelKey(model) === modelKey(wanted) ? { ...model, is_favourite: wanted.is_favourite } : model,
        ),
      ),
    onError: (error) => {
      say(wordsFor(error));
      void client.invalidateQueries({ queryKey: ["models"] });
    },
  });
  return ({ provider, model_name, is_favourite }: Model) =>
    mutate({ provider, model_name, is_favourite: !is_favourite });
}

/** Set how many tokens of a chat a model can read, or with `null` return to what its server says. */
export function useSaveWindow() {
  const client = useQueryClient();
  return useCallback(
    async ({ provider, model_name }: Pick<Model, "provider" | "model_name">, tokens: number | null) => {
      await api("PUT", "/models/window", { body: { provider, model_name, context_window: tokens } });
      await Promise.all([
        client.invalidateQueries({ queryKey: ["models"] }),
        client.invalidateQueries({ queryKey: ["context"] }),
      ]);
    },
    [client],
  );
}

export const modelKey = (model: { provider: string; model_name: string }) =>
  `${model.provider}/${model.model_name}`;

/** Return the model of a key such as `openai/gpt-4o`. Names of models may contain `/`. */
export function modelOfKey(key: string): { provider: string; model_name: string } {
  const at = key.indexOf("/");
  return { provider: key.slice(0, at), model_name: key.slice(at + 1) };
}

/** Return the state of the built-in model as text, or undefined if it is ready. */
export function modelStateWords(model: Model | undefined): string | undefined {
  switch (model?.state?.phase) {
    case "fetching":
      return `The built-in model is being fetched: ${Math.floor((model.state.progress ?? 0) * 100)} %`;
    case "loading":
      return "The built-in model is being loaded";
    case "failed":
      return model.state.detail ?? "The built-in model is not available.";
    default:
      return undefined;
  }
}
