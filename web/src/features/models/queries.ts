import { queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";

export type Model = Schemas["ModelRead"];

/** The models to choose from; asked again each second while the built-in one is on its way. */
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

/** How the built-in model is doing, in words; nothing when it is simply there. */
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
