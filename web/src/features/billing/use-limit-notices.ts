import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { languageOf } from "@/lib/dates";
import { useToast } from "@/ui/toast";
import { type LimitNotice, limitNoticesQuery, seeNotice } from "./queries";
import { amountWords, MEASURES, WINDOWS } from "./words";

/** Say when 50, 80 or 100 % of a limit is reached, until it is dismissed here or on another device. */
export function useLimitNotices(): void {
  const client = useQueryClient();
  const { data } = useQuery(limitNoticesQuery);
  const { stay } = useToast();
  const shown = useRef<{ id: string; close: () => void }>(undefined);
  const newest = data?.[0];
  useEffect(() => {
    if (newest?.id === shown.current?.id) return;
    shown.current?.close();
    shown.current = newest && {
      id: newest.id,
      close: stay(wordsOf(newest), () => {
        client.setQueryData(limitNoticesQuery.queryKey, (known) =>
          known?.filter(({ id }) => id !== newest.id),
        );
        // It comes back with the next start if this fails.
        void seeNotice(newest.id).catch(() => {});
      }),
    };
  }, [newest, stay, client]);
}

function wordsOf({ percent, limit }: LimitNotice): string {
  const share = (percent / 100).toLocaleString(languageOf(), { style: "percent" });
  const most = amountWords(limit.measure, limit.limit);
  if (limit.measure === "storage") return `You have used ${share} of your ${most} for files.`;
  const span = `${most} ${WINDOWS[limit.window]}`;
  const what = limit.measure === "cost" ? "budget" : "limit";
  const of = limit.measure === "cost" ? span : `${MEASURES[limit.measure].toLowerCase()}, ${span}`;
  // Others spend there, too.
  if (limit.subject_kind === "project" || limit.subject_kind === "chat")
    return `${limit.subject_name ?? `A ${limit.subject_kind}`} has used ${share} of its ${what} of ${of}.`;
  return `You have used ${share} of your ${what} of ${of}.`;
}
