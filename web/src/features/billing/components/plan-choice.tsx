import { useQuery } from "@tanstack/react-query";
import { Choice } from "@/ui/choice";
import { plansQuery } from "../queries";

/** Choose a plan, or none. Nothing is shown while there are no plans. */
export function PlanChoice({ value, onChoose }: { value: string; onChoose: (planId: string) => void }) {
  const plans = useQuery(plansQuery);
  if (!plans.data?.length) return null;
  const usual = plans.data.find((plan) => plan.is_default);
  return (
    <Choice
      label="Plan"
      showLabel
      value={value}
      options={[
        { value: "", label: usual ? `Default (${usual.name})` : "No plan" },
        ...plans.data.map(({ id, name }) => ({ value: id, label: name })),
      ]}
      onChoose={onChoose}
    />
  );
}
