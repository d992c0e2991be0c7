import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { languageOf } from "@/lib/dates";
import { subscriptionQuery } from "../queries";

/** Say on every page that a payment failed, and until when the plan is kept. */
export function PastDueNotice({ link }: { link: ReactNode }) {
  const { data } = useQuery(subscriptionQuery);
  const late = data?.subscriptions.find((item) => item.status === "past_due" && item.has_access);
  if (!late?.access_until) return null;
  const end = new Date(late.access_until).toLocaleDateString(languageOf(), { day: "numeric", month: "long" });
  return (
    <p
      role="status"
      className="flex flex-wrap items-center justify-center gap-x-3 bg-danger-quiet px-4 py-2 text-danger text-sm"
    >
      A payment failed. You keep {late.plan_name ?? "your plan"} until {end}. {link}
    </p>
  );
}
