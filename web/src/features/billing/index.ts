export { LimitBars } from "./components/limit-bars";
export { LimitsView } from "./components/limits-view";
export { PlanList } from "./components/plan-list";
export { billingChanges } from "./events";
export { assignPlan, limitsQuery, plansQuery } from "./queries";
export { useLimitNotices } from "./use-limit-notices";
