import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";

export type Limit = Schemas["LimitRead"];
export type Quota = Schemas["QuotaRead"];
export type Plan = Schemas["PlanRead"];
type Page<T> = { items: T[]; next_cursor: string | null };
export type Whose = "me" | "everyone";

export type Place = { kind: "chat" | "project"; id: string };
/** The limits that apply to the user, also those of a chat or a project of theirs, the tightest first. */
export function limitsQuery(place?: Place) {
  return queryOptions({
    queryKey: ["limits", place?.id ?? null],
    queryFn: ({ signal }) =>
      api<Schemas["Limits"]>("GET", "/limits", {
        query: place && { [`${place.kind}_id`]: place.id },
        signal,
      }).then((limits) => limits.items),
    staleTime: 10_000,
  });
}

/** What everyone together used in a project of the user's this month. */
export const projectUseQuery = (projectId: string) =>
  queryOptions({
    queryKey: ["usage", "project", projectId],
    queryFn: ({ signal }) => api<Schemas["ProjectUse"]>("GET", `/usage/projects/${projectId}`, { signal }),
    staleTime: 10_000,
  });

export type LimitNotice = Schemas["QuotaNoticeRead"];
/** The limits that the user came near to and has not seen, newest first. */
export const limitNoticesQuery = queryOptions({
  queryKey: ["limit-notices"],
  queryFn: ({ signal }) =>
    api<Page<LimitNotice>>("GET", "/quota-notices", { signal }).then((page) => page.items),
  staleTime: 60_000,
});
export const seeNotice = (id: string) => api<void>("PUT", `/quota-notices/${id}/seen`);

function pagesOf<T>(key: readonly unknown[], path: string, query: Record<string, string> = {}) {
  return infiniteQueryOptions({
    queryKey: key,
    queryFn: ({ pageParam, signal }) =>
      api<Page<T>>("GET", path, { query: { ...query, cursor: pageParam }, signal }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  });
}

export const quotasQuery = (of: Whose) => pagesOf<Quota>(["quotas", of], "/quotas", { of });
export const createQuota = (body: Schemas["QuotaCreate"]) => api<Quota>("POST", "/quotas", { body });
export const updateQuota = (id: string, body: Schemas["QuotaUpdate"]) =>
  api<Quota>("PATCH", `/quotas/${id}`, { body });
export const deleteQuota = (id: string) => api<void>("DELETE", `/quotas/${id}`);

export const plansQuery = queryOptions({
  queryKey: ["plans"],
  queryFn: ({ signal }) => api<Schemas["PlanList"]>("GET", "/plans", { signal }).then((list) => list.items),
});
export const createPlan = (body: Schemas["PlanCreate"]) => api<Plan>("POST", "/plans", { body });
export const updatePlan = (id: string, body: Schemas["PlanUpdate"]) =>
  api<Plan>("PATCH", `/plans/${id}`, { body });
export const deletePlan = (id: string) => api<void>("DELETE", `/plans/${id}`);
export const assignPlan = (userId: string, planId: string | null) =>
  api<Schemas["UserPlanRead"]>("PUT", `/users/${userId}/plan`, { body: { plan_id: planId } });

/** The plan and the limits of any user, for administrators. Their keys extend those of the own ones. */
export const planOfQuery = (userId: string) =>
  queryOptions({
    queryKey: ["plans", "of", userId],
    queryFn: ({ signal }) => api<Schemas["UserPlanRead"]>("GET", `/users/${userId}/plan`, { signal }),
  });
export const limitsOfQuery = (userId: string) =>
  queryOptions({
    queryKey: ["limits", "of", userId],
    queryFn: ({ signal }) =>
      api<Schemas["Limits"]>("GET", `/users/${userId}/limits`, { signal }).then((limits) => limits.items),
  });

export type PersonUse = Schemas["PersonUse"];
/** The plan, the use of this month and the nearest limit of everybody, by user. All pages are loaded. */
export const peopleUseQuery = queryOptions({
  queryKey: ["people-use"],
  queryFn: async ({ signal }) => {
    const people: Record<string, PersonUse> = {};
    let cursor: string | undefined;
    do {
      const page: Page<PersonUse> = await api("GET", "/usage/people", { query: { cursor }, signal });
      for (const person of page.items) people[person.user_id] = person;
      cursor = page.next_cursor ?? undefined;
    } while (cursor);
    return people;
  },
});

/** Whom a limit can be set for: all users, and the user's own API tokens. */
export const usersQuery = queryOptions({
  queryKey: ["limit-users"],
  queryFn: async ({ signal }) => {
    const users: Schemas["UserRead"][] = [];
    let cursor: string | undefined;
    do {
      const page: Page<Schemas["UserRead"]> = await api("GET", "/users", {
        query: { limit: "200", cursor },
        signal,
      });
      users.push(...page.items);
      cursor = page.next_cursor ?? undefined;
    } while (cursor);
    return users;
  },
});
export const tokensQuery = queryOptions({
  queryKey: ["limit-tokens"],
  queryFn: ({ signal }) =>
    api<Page<Schemas["ApiTokenRead"]>>("GET", "/api-tokens", { query: { limit: "200" }, signal }).then(
      (page) => page.items,
    ),
});

export type Subscription = Schemas["SubscriptionItem"];
export type Payment = Schemas["PaymentRead"];
export type WebhookEvent = Schemas["WebhookEventRead"];

export const subscriptionQuery = queryOptions({
  queryKey: ["subscription"],
  queryFn: ({ signal }) => api<Schemas["SubscriptionRead"]>("GET", "/subscription", { signal }),
  staleTime: 60_000,
});
export const paymentsQuery = pagesOf<Payment>(["subscription", "payments"], "/payments");
export const buyPlan = (planId: string) =>
  api<Schemas["LinkRead"]>("POST", "/checkout", { body: { plan_id: planId } });
export const changeSubscription = ({ id, ...body }: { id: string } & Schemas["SubscriptionUpdate"]) =>
  api<Schemas["SubscriptionRead"]>("PATCH", `/subscriptions/${encodeURIComponent(id)}`, { body });
export const findInvoice = (paymentId: string) =>
  api<Schemas["LinkRead"]>("POST", `/payments/${encodeURIComponent(paymentId)}/invoice`);
export const openPortal = () => api<Schemas["LinkRead"]>("POST", "/customer-portal");

export const webhookEventsQuery = (isFailed: boolean) =>
  pagesOf<WebhookEvent>(["webhook-events", isFailed], "/webhook-events", isFailed ? { failed: "true" } : {});
export const refusalsQuery = queryOptions({
  queryKey: ["webhook-refusals"],
  queryFn: ({ signal }) =>
    api<Schemas["WebhookRefusals"]>("GET", "/webhook-refusals", { signal }).then((list) => list.items),
});
export const replayEvent = (id: string) => api<WebhookEvent>("POST", `/webhook-events/${id}/replay`);

export type ModelPrice = Schemas["ModelPriceRead"];
export type UnknownPriceRule = Schemas["UnknownPriceRule"];
export const pricesQuery = queryOptions({
  queryKey: ["model-prices"],
  queryFn: ({ signal }) =>
    api<Schemas["ModelPriceList"]>("GET", "/model-prices", { signal }).then((list) => list.items),
});
export const createPrice = (body: Schemas["ModelPriceCreate"]) =>
  api<ModelPrice>("POST", "/model-prices", { body });
export const deletePrice = (id: string) => api<void>("DELETE", `/model-prices/${id}`);
export const unknownPricesQuery = queryOptions({
  queryKey: ["unknown-prices"],
  queryFn: ({ signal }) =>
    api<Schemas["UnknownPriceList"]>("GET", "/unknown-prices", { signal }).then((list) => list.items),
});
export const setUnknownPrice = (provider: string, rule: UnknownPriceRule) =>
  api<Schemas["UnknownPriceRead"]>("PUT", `/unknown-prices/${encodeURIComponent(provider)}`, {
    body: { rule },
  });
/** The vendors that prices can be entered for. */
export const vendorsQuery = queryOptions({
  queryKey: ["providers"],
  queryFn: ({ signal }) =>
    api<Schemas["VendorList"]>("GET", "/providers", { signal }).then((list) => list.items),
});

export type Reconciliation = Schemas["ReconciliationRead"];
export const reconcile = (body: Schemas["ReconciliationCreate"]) =>
  api<Reconciliation>("POST", "/usage/reconciliations", { body });
const ENTERED_AT_ONCE = 25;
/** Enter differences, some at a time, so that no other change waits for long. `onSome` gets the lines as they are then. */
export async function enterDifferences(
  id: string,
  lines: Schemas["BilledModel"][],
  onSome: (entered: Reconciliation) => void,
) {
  for (let start = 0; start < lines.length; start += ENTERED_AT_ONCE) {
    const some = lines.slice(start, start + ENTERED_AT_ONCE);
    const entered = await api<Reconciliation>("POST", `/usage/reconciliations/${id}/correct`, {
      body: { lines: some.map(({ day, model_name }) => ({ day, model_name })) },
    });
    onSome(entered);
  }
}
