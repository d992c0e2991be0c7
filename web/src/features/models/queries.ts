import { queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";

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

export const modelKey = (model: { provider: string; model_name: string }) =>
  `${model.provider}/${model.model_name}`;

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
