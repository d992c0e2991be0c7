import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { Pencil, Trash2 } from "lucide-react";
import { type ReactNode, useState } from "react";
import { wordsFor } from "@/api/words";
import { Button, IconButton } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Row, Rows, Section } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import { refreshLimits } from "../events";
import { createQuota, deleteQuota, type Quota, quotasQuery, type Whose } from "../queries";
import { amountWords, limitsOf, MEASURES, WINDOWS } from "../words";
import { QuotaForm, type Subject } from "./quota-form";

type Props = {
  of: Whose;
  title: string;
  hint: string;
  empty: string;
  withSubjects: (render: (subjects: Subject[]) => ReactNode) => ReactNode;
};

/** The quotas that a person or the administrators set, to add, change and delete. */
export function QuotaList({ of, title, hint, empty, withSubjects }: Props) {
  const client = useQueryClient();
  const { say, offerUndo } = useToast();
  const quotas = useInfiniteQuery(quotasQuery(of));
  const [open, setOpen] = useState<Quota | "new">();
  const refresh = () => refreshLimits(client);
  const deleting = useMutation({
    mutationFn: (quota: Quota) => deleteQuota(quota.id),
    onSettled: refresh,
    onError: (error) => say(wordsFor(error)),
    onSuccess: (_, quota) =>
      offerUndo("The limit is deleted.", () => {
        const { subject_kind, subject_id, window, is_sliding } = quota;
        const limits = Object.fromEntries(Object.entries(quota).filter(([name]) => name.startsWith("max_")));
        const own = of === "me" && subject_kind === "user" ? { is_own: true } : {};
        void createQuota({ subject_kind, subject_id, window, is_sliding, ...own, ...limits })
          .catch((error: unknown) => say(wordsFor(error)))
          .finally(refresh);
      }),
  });
  const items = quotas.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <Section title={title} hint={hint} action={<Button onClick={() => setOpen("new")}>Set a limit</Button>}>
      {quotas.isPending ? (
        <Lines widths={["w-2/3", "w-1/2"]} />
      ) : quotas.isError ? (
        <Failed words={wordsFor(quotas.error)} onRetry={() => void quotas.refetch()} />
      ) : items.length === 0 ? (
        <p className="text-text-muted">{empty}</p>
      ) : (
        <Rows>
          {items.map((quota) => (
            <Row
              key={quota.id}
              actions={
                <>
                  <IconButton label={`Change ${wordsOf(quota)}`} onClick={() => setOpen(quota)}>
                    <Pencil size={16} strokeWidth={1.5} aria-hidden />
                  </IconButton>
                  <IconButton label={`Delete ${wordsOf(quota)}`} onClick={() => deleting.mutate(quota)}>
                    <Trash2 size={16} strokeWidth={1.5} aria-hidden />
                  </IconButton>
                </>
              }
            >
              <p>{wordsOf(quota)}</p>
              <p className="text-sm text-text-muted">{whose(quota)}</p>
            </Row>
          ))}
        </Rows>
      )}
      {quotas.hasNextPage && (
        <Button look="plain" className="self-start" onClick={() => void quotas.fetchNextPage()}>
          Show more
        </Button>
      )}
      <Dialog
        title={open === "new" ? "Set a limit" : "Change the limit"}
        isOpen={open !== undefined}
        onClose={() => setOpen(undefined)}
      >
        {open &&
          withSubjects((subjects) => (
            <QuotaForm
              key={open === "new" ? subjects[0]?.id : open.id}
              quota={open === "new" ? undefined : open}
              subjects={subjects}
              isOwn={of === "me"}
              onDone={() => {
                setOpen(undefined);
                refresh();
              }}
            />
          ))}
      </Dialog>
    </Section>
  );
}

function wordsOf(quota: Quota): string {
  const limits = limitsOf(quota).map(([measure, amount]) =>
    measure === "cost"
      ? amountWords(measure, amount)
      : `${amountWords(measure, amount)} ${MEASURES[measure].toLowerCase()}`,
  );
  const isTimed = limitsOf(quota).some(([measure]) => measure !== "storage");
  return `${limits.join(", ")}${isTimed ? ` ${WINDOWS[quota.window]}` : ""}${quota.is_sliding ? ", sliding" : ""}`;
}

function whose({ subject_kind, subject_id, subject_name }: Quota): string {
  switch (subject_kind) {
    case "user":
      return subject_name ?? "You";
    case "role":
      return subject_id === "admin" ? "Each administrator" : "Each user";
    case "plan":
      return `Each person on plan ${subject_name ?? ""}`;
    case "chat":
      return `Chat ${subject_name ?? subject_id.slice(-8)}`;
    case "project":
      return `Project ${subject_name ?? subject_id.slice(-8)}, everyone together`;
    case "token":
      return `API token ${subject_name ?? ""}`;
  }
}
