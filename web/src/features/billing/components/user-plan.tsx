import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { wordsFor } from "@/api/words";
import { Choice } from "@/ui/choice";
import { Failed, Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import { assignPlan, limitsOfQuery, peopleUseQuery, planOfQuery, plansQuery } from "../queries";
import { LimitBars } from "./limit-bars";

const SOURCES: Record<string, string> = {
  subscription: "by a subscription, which counts before a plan given by hand",
  hand: "given by hand",
  default: "the default plan",
};

/** The plan and the limits of a person, for administrators. */
export function UserPlan({ userId }: { userId: string }) {
  const client = useQueryClient();
  const { say } = useToast();
  const plans = useQuery(plansQuery);
  const plan = useQuery(planOfQuery(userId));
  const limits = useQuery(limitsOfQuery(userId));
  const assigning = useMutation({
    mutationFn: (planId: string) => assignPlan(userId, planId || null),
    onSuccess: (assigned) => client.setQueryData(planOfQuery(userId).queryKey, assigned),
    onError: (error) => say(wordsFor(error)),
    onSettled: () =>
      Promise.all([
        client.invalidateQueries({ queryKey: ["plans"] }),
        client.invalidateQueries(limitsOfQuery(userId)),
        client.invalidateQueries(peopleUseQuery),
      ]),
  });
  const failed = plans.error ?? plan.error ?? limits.error;
  if (failed) return <Failed words={wordsFor(failed)} onRetry={() => void client.refetchQueries()} />;
  if (!plans.data || !plan.data || !limits.data) return <Lines widths={["w-1/2", "w-full", "w-full"]} />;
  const { hand_plan_id, plan_name, source } = plan.data;
  return (
    <div className="flex flex-col gap-6">
      <div className="flex flex-col gap-1">
        <Choice
          label="Plan"
          showLabel
          value={hand_plan_id ?? ""}
          options={[
            { value: "", label: "No plan by hand" },
            ...plans.data.map(({ id, name }) => ({ value: id, label: name })),
          ]}
          onChoose={(chosen) => assigning.mutate(chosen)}
        />
        <p className="text-sm text-text-muted">
          {plan_name
            ? `Now: ${plan_name}, ${SOURCES[source ?? ""] ?? ""}.`
            : "Without a plan, everything is allowed."}
        </p>
      </div>
      <section aria-label="Limits" className="flex flex-col gap-3">
        <h3 className="font-medium">Limits</h3>
        <LimitBars limits={limits.data} />
      </section>
    </div>
  );
}
