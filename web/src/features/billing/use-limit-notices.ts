import { useEffect } from "react";
import { languageOf } from "@/lib/dates";
import { useRealtime } from "@/realtime/provider";
import { useToast } from "@/ui/toast";
import { amountWords, MEASURES, WINDOWS } from "./words";

/** Say when 50, 80 or 100 % of a limit is reached. */
export function useLimitNotices(): void {
  const realtime = useRealtime();
  const { say } = useToast();
  useEffect(
    () =>
      realtime.listen((message) => {
        if (message.tell !== "change" || message.change.entity !== "quota_notice") return;
        const notice = message.change.payload;
        if (!notice) return;
        const { measure, window, limit } = notice.limit;
        const percent = (notice.percent / 100).toLocaleString(languageOf(), { style: "percent" });
        const most = `${amountWords(measure, limit)} ${WINDOWS[window]}`;
        say(
          measure === "cost"
            ? `You have used ${percent} of your budget of ${most}.`
            : `You have used ${percent} of your limit: ${MEASURES[measure].toLowerCase()}, ${most}.`,
        );
      }),
    [realtime, say],
  );
}
