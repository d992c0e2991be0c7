import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { wordsFor } from "@/api/words";
import { exactTime, relativeTime, wholeNumber } from "@/lib/dates";
import { Button } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Badge, Row, Rows, Section } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import { refusalsQuery, replayEvent, type WebhookEvent, webhookEventsQuery } from "../queries";

const SHOWN = [
  { value: "all", label: "All events" },
  { value: "failed", label: "Not applied" },
];

/** What payment providers sent, for administrators: each event with its body, to apply again. */
export function WebhookEvents() {
  const client = useQueryClient();
  const { say } = useToast();
  const [shown, setShown] = useState("all");
  const events = useInfiniteQuery(webhookEventsQuery(shown === "failed"));
  const { data: refusals = [] } = useQuery(refusalsQuery);
  const replaying = useMutation({
    mutationFn: (event: WebhookEvent) => replayEvent(event.id),
    onSuccess: () => say("The event is applied again."),
    onError: (error) => say(wordsFor(error)),
    onSettled: () => client.invalidateQueries({ queryKey: ["webhook-events"] }),
  });
  const items = events.data?.pages.flatMap((page) => page.items) ?? [];
  const refused = refusals.reduce((sum, row) => sum + row.count, 0);
  return (
    <Section
      title="Payment events"
      hint={
        refused > 0
          ? `${wholeNumber(refused)} deliveries were refused in the last 30 days: ${[...new Set(refusals.map((row) => row.reason.replaceAll("_", " ")))].join(", ")}.`
          : "What your payment provider sent, newest first."
      }
      action={<Choice label="Shown" value={shown} options={SHOWN} onChoose={setShown} />}
    >
      {events.isPending ? (
        <Lines widths={["w-2/3", "w-1/2"]} />
      ) : events.isError ? (
        <Failed words={wordsFor(events.error)} onRetry={() => void events.refetch()} />
      ) : items.length === 0 ? (
        <p className="text-text-muted">No events yet</p>
      ) : (
        <Rows>
          {items.map((event) => (
            <Row
              key={event.id}
              actions={<Button onClick={() => replaying.mutate(event)}>Apply again</Button>}
              below={
                <details>
                  <summary className="text-sm text-text-muted">Show the event</summary>
                  <pre className="max-h-72 overflow-auto rounded-card bg-surface-quiet p-3 text-xs">
                    {event.body}
                  </pre>
                </details>
              }
            >
              <p className="flex flex-wrap items-center gap-2">
                {event.type ?? "Unreadable"}
                {event.error ? (
                  <Badge tone="danger">Failed</Badge>
                ) : (
                  !event.processed_at && <Badge>Waiting</Badge>
                )}
              </p>
              <p className="text-sm text-text-muted" title={exactTime(event.received_at)}>
                {event.source} · {relativeTime(event.received_at)}
                {event.error && ` · ${event.error}`}
              </p>
            </Row>
          ))}
        </Rows>
      )}
      {events.hasNextPage && (
        <Button look="plain" className="self-start" onClick={() => void events.fetchNextPage()}>
          Show more
        </Button>
      )}
    </Section>
  );
}
