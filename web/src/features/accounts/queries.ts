import { queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";

export type User = Schemas["UserRead"];

export const meQuery = queryOptions({
  queryKey: ["me"],
  queryFn: ({ signal }) => api<User>("GET", "/me", { signal }),
  staleTime: Number.POSITIVE_INFINITY,
});

export const setupQuery = queryOptions({
  queryKey: ["setup"],
  queryFn: ({ signal }) => api<Schemas["SetupRead"]>("GET", "/setup", { signal }),
});

export const setUp = (account: Schemas["AccountCreate"]) => api<User>("POST", "/setup", { body: account });
export const signIn = (fields: Schemas["SignIn"]) => api<User>("POST", "/session", { body: fields });
export const signOut = () => api<void>("DELETE", "/session");
export const updateMe = (update: Schemas["MeUpdate"]) => api<User>("PATCH", "/me", { body: update });
