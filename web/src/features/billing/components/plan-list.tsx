import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Pencil, Trash2 } from "lucide-react";
import { useState } from "react";
import { wordsFor } from "@/api/words";
import { wholeNumber } from "@/lib/dates";
import { priceWords } from "@/lib/money";
import { Button, IconButton } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Badge, Row, Rows, Section } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import { createPlan, deletePlan, type Plan, plansQuery } from "../queries";
import { PlanForm } from "./plan-form";

/** All plans, for administrators. */
export function PlanList() {
  const client = useQueryClient();
  const { say, offerUndo } = useToast();
  const plans = useQuery(plansQuery);
  const [open, setOpen] = useState<Plan | "new">();
  const refresh = () => void client.invalidateQueries({ queryKey: ["plans"] });
  const deleting = useMutation({
    mutationFn: (plan: Plan) => deletePlan(plan.id),
    onSettled: refresh,
    onError: (error) => say(wordsFor(error)),
    onSuccess: (_, plan) =>
      offerUndo(`${plan.name} is deleted. Its people have the default plan.`, () => {
        const { id: _id, people: _people, created_at: _created, updated_at: _updated, ...fields } = plan;
        void createPlan(fields as Parameters<typeof createPlan>[0])
          .catch((error: unknown) => say(wordsFor(error)))
          .finally(refresh);
      }),
  });
  return (
    <Section
      title="Plans"
      hint="A plan says which models and features its people may use. Set its limits under Limits. Without plans, everything is allowed."
      action={<Button onClick={() => setOpen("new")}>Create a plan</Button>}
    >
      {plans.isPending ? (
        <Lines widths={["w-2/3", "w-1/2"]} />
      ) : plans.isError ? (
        <Failed words={wordsFor(plans.error)} onRetry={() => void plans.refetch()} />
      ) : plans.data.length === 0 ? (
        <p className="text-text-muted">No plans yet</p>
      ) : (
        <Rows>
          {plans.data.map((plan) => (
            <Row
              key={plan.id}
              actions={
                <>
                  <IconButton label={`Change ${plan.name}`} onClick={() => setOpen(plan)}>
                    <Pencil size={16} strokeWidth={1.5} aria-hidden />
                  </IconButton>
                  <IconButton label={`Delete ${plan.name}`} onClick={() => deleting.mutate(plan)}>
                    <Trash2 size={16} strokeWidth={1.5} aria-hidden />
                  </IconButton>
                </>
              }
            >
              <p className="flex flex-wrap items-center gap-2">
                {plan.name}
                {plan.is_default && <Badge>Default</Badge>}
                {plan.is_offered && <Badge tone="accent">On offer</Badge>}
              </p>
              <p className="text-sm text-text-muted">
                {[
                  priceWords(plan),
                  plan.models ? `${plan.models.join(", ")}` : "all models",
                  plan.people === 1 ? "1 person" : `${wholeNumber(plan.people)} people`,
                ]
                  .filter(Boolean)
                  .join(" · ")}
              </p>
            </Row>
          ))}
        </Rows>
      )}
      <Dialog
        title={open === "new" ? "Create a plan" : "Change the plan"}
        isOpen={open !== undefined}
        onClose={() => setOpen(undefined)}
      >
        {open && (
          <PlanForm
            plan={open === "new" ? undefined : open}
            onDone={() => {
              setOpen(undefined);
              refresh();
            }}
          />
        )}
      </Dialog>
    </Section>
  );
}
