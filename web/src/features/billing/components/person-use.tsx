import { useQuery } from "@tanstack/react-query";
import { wordsFor } from "@/api/words";
import { wholeNumber } from "@/lib/dates";
import { dollars } from "@/lib/money";
import { Meter } from "@/ui/meter";
import { peopleUseQuery } from "../queries";
import { amountWords, MEASURES, WINDOWS } from "../words";

/** The plan of a person, what it cost this month, and the limit that is nearest, for administrators. */
export function PersonUse({ userId }: { userId: string }) {
  const people = useQuery(peopleUseQuery);
  if (people.error) return <p className="text-danger text-sm">{wordsFor(people.error)}</p>;
  const person = people.data?.[userId];
  if (!person) return <p className="h-5" aria-busy={people.isPending} />;
  const { plan_name, cost, requests, nearest } = person;
  return (
    <div className="grid items-start gap-x-6 gap-y-2 sm:grid-cols-2">
      <p className="flex flex-wrap gap-x-3 text-sm">
        <span>{plan_name ?? "No plan"}</span>
        <span className="text-text-muted tabular-nums">
          {dollars(cost)} this month, {wholeNumber(requests)} {requests === 1 ? "request" : "requests"}
        </span>
      </p>
      {nearest && (
        <Meter
          label={
            nearest.measure === "storage"
              ? MEASURES.storage
              : `${MEASURES[nearest.measure]} ${WINDOWS[nearest.window]}`
          }
          value={Number(nearest.used)}
          held={Number(nearest.reserved)}
          max={Number(nearest.limit)}
          words={`${amountWords(nearest.measure, nearest.used)} of ${amountWords(nearest.measure, nearest.limit)}`}
        />
      )}
    </div>
  );
}
