export { LimitBars } from "./components/limit-bars";
export { LimitsView } from "./components/limits-view";
export { PastDueNotice } from "./components/past-due-notice";
export { PlanList } from "./components/plan-list";
export { PlanView } from "./components/plan-view";
export { WebhookEvents } from "./components/webhook-events";
export { billingChanges } from "./events";
export { assignPlan, limitsQuery, plansQuery } from "./queries";
export { useLimitNotices } from "./use-limit-notices";
