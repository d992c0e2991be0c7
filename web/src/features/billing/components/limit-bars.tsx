import { Meter } from "@/ui/meter";
import type { Limit } from "../queries";
import { amountWords, MEASURES, resetWords, subjectWords, WINDOWS } from "../words";

/** A bar for each limit, the tightest first. */
export function LimitBars({ limits }: { limits: Limit[] }) {
  return (
    <ul className="flex flex-col gap-4">
      {limits.map((limit) => (
        <li key={`${limit.quota_id} ${limit.measure}`}>
          <Meter
            label={
              limit.measure === "storage"
                ? MEASURES.storage
                : `${MEASURES[limit.measure]} ${WINDOWS[limit.window]}`
            }
            value={Number(limit.used)}
            held={Number(limit.reserved)}
            max={Number(limit.limit)}
            words={`${amountWords(limit.measure, limit.used)} of ${amountWords(limit.measure, limit.limit)}`}
          />
          <p className="pt-1 text-text-muted text-xs">
            {[
              limit.quota_id ? subjectWords(limit) : "Set for this server",
              Number(limit.reserved) > 0 &&
                `${amountWords(limit.measure, limit.reserved)} reserved for running work`,
              resetWords(limit),
            ]
              .filter(Boolean)
              .join(" · ")}
          </p>
        </li>
      ))}
    </ul>
  );
}
