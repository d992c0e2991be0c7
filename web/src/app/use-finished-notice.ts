import { useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import type { Schemas } from "@/api/client";
import { meQuery } from "@/features/accounts";
import { useRealtime } from "@/realtime/provider";

/** A reply that ends while the window is hidden is told by the title, and by the system if the person wants that. */
export function useFinishedNotice(): void {
  const realtime = useRealtime();
  const client = useQueryClient();
  useEffect(() => {
    const clear = () => {
      if (!document.hidden) document.title = document.title.replace(/^● /, "");
    };
    document.addEventListener("visibilitychange", clear);
    const leave = realtime.listen((message) => {
      if (message.tell !== "change" || message.change.entity !== "run" || !document.hidden) return;
      const run = message.change.payload as Schemas["RunRead"] | null;
      if (!run?.ended_at || run.status === "cancelled") return;
      if (!document.title.startsWith("● ")) document.title = `● ${document.title}`;
      const wants = client.getQueryData(meQuery.queryKey)?.preferences.enable_notifications;
      if (wants && "Notification" in window && Notification.permission === "granted")
        new Notification("Tertulia", { body: "A reply is finished.", tag: run.chat_id });
    });
    return () => {
      leave();
      document.removeEventListener("visibilitychange", clear);
    };
  }, [realtime, client]);
}
