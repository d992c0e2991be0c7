import { useMutation, useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { ApiError, type Schemas } from "@/api/client";
import { wordsFor } from "@/api/words";
import { amountProblem, typedAmount } from "@/lib/money";
import { Button } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Field } from "@/ui/field";
import { Problem } from "@/ui/problem";
import { createQuota, plansQuery, type Quota, tokensQuery, updateQuota, usersQuery } from "../queries";
import { fieldOf, limitsOf, MEASURES, type Measure, WINDOWS } from "../words";

export type Subject = { kind: Quota["subject_kind"]; id: string; label: string };
type Props = {
  /** The quota to change; none: a new one. */
  quota?: Quota;
  /** Whom a new quota can limit. */
  subjects: Subject[];
  isOwn: boolean; // a limit that people set for themselves, also administrators
  onDone: (quota: Quota) => void;
};
const UNIT = { cost: "dollars", storage: "megabytes" } as Partial<Record<Measure, string>>;
const MEGABYTE = 1_048_576;

const shown = (measure: Measure, value: string) =>
  String(measure === "storage" ? Number(value) / MEGABYTE : Number(value));
const sent = (measure: Measure, typed: string) =>
  measure === "cost"
    ? typedAmount(typed)
    : Math.round(Number(typedAmount(typed)) * (measure === "storage" ? MEGABYTE : 1));
const problemOf = (measure: Measure, typed: string | undefined) =>
  amountProblem(typed ?? "", measure === "cost" ? 6 : measure === "storage" ? 20 : 0);

/** Set or change a limit: of what, how much, and in which window. */
export function QuotaForm({ quota, subjects, isOwn, onDone }: Props) {
  const [first, ...others] = quota ? limitsOf(quota) : [];
  const [subject, setSubject] = useState(subjects[0]?.id ?? "");
  const [measure, setMeasure] = useState<Measure>(first?.[0] ?? "cost");
  const [amount, setAmount] = useState(first ? shown(first[0], first[1]) : "");
  const [more, setMore] = useState<Partial<Record<Measure, string>>>(
    Object.fromEntries(others.map(([name, value]) => [name, shown(name, value)])),
  );
  const [span, setSpan] = useState<Quota["window"]>(quota?.window ?? "month");
  const [isSliding, setSliding] = useState(quota?.is_sliding ?? false);
  const saving = useMutation({
    mutationFn: () => {
      const isByDay = measure === "messages";
      const limits = {
        window: isByDay ? ("day" as const) : span,
        is_sliding: !isByDay && measure !== "storage" && isSliding,
        ...Object.fromEntries(typed.map(([name, value]) => [fieldOf(name), sent(name, value)])),
      };
      return quota
        ? updateQuota(quota.id, limits as Schemas["QuotaUpdate"])
        : createQuota({
            subject_kind: kind ?? "user",
            subject_id: subject,
            ...(isOwn && kind === "user" && { is_own: true }),
            ...limits,
          } as Schemas["QuotaCreate"]);
    },
    onSuccess: onDone,
  });
  // Messages and stored files are counted for people only.
  const kind = subjects.find((known) => known.id === subject)?.kind;
  const ofPerson = kind === "user" || kind === "role" || kind === "plan";
  const refused = saving.error instanceof ApiError ? saving.error.field(String(fieldOf(measure))) : undefined;
  const error = problemOf(measure, amount) ?? refused;
  const typed: [Measure, string][] = [[measure, amount], ...(Object.entries(more) as [Measure, string][])];
  const isReady = typed.every(([name, value]) => value.trim() && !problemOf(name, value));
  return (
    <form
      className="flex flex-col gap-4"
      onSubmit={(event) => {
        event.preventDefault();
        saving.mutate();
      }}
    >
      {!quota && subjects.length > 1 && (
        <Choice
          label="Limit"
          showLabel
          value={subject}
          options={subjects.map(({ id, label }) => ({ value: id, label }))}
          onChoose={(chosen) => {
            setSubject(chosen);
            if (measure === "messages" || measure === "storage") setMeasure("cost");
          }}
        />
      )}
      {!quota && (
        <Choice
          label="What to limit"
          showLabel
          value={measure}
          options={Object.entries(MEASURES)
            .filter(([value]) => ofPerson || (value !== "messages" && value !== "storage"))
            .map(([value, label]) => ({ value, label }))}
          onChoose={(chosen) => setMeasure(chosen as Measure)}
        />
      )}
      <Field
        label={`At most${UNIT[measure] ? ` (${UNIT[measure]})` : ""}`}
        inputMode="decimal"
        autoFocus
        value={amount}
        error={error}
        onChange={(event) => setAmount(event.target.value)}
      />
      {others.map(([name]) => (
        <Field
          key={name}
          label={`${MEASURES[name]}, at most${UNIT[name] ? ` (${UNIT[name]})` : ""}`}
          inputMode="decimal"
          value={more[name] ?? ""}
          error={problemOf(name, more[name])}
          onChange={(event) => setMore({ ...more, [name]: event.target.value })}
        />
      ))}
      {measure !== "storage" && measure !== "messages" && (
        <>
          <Choice
            label="Window"
            showLabel
            value={span}
            options={Object.entries(WINDOWS).map(([value, label]) => ({ value, label }))}
            onChoose={(chosen) => setSpan(chosen as Quota["window"])}
          />
          <Choice
            label="Counted"
            showLabel
            value={isSliding ? "sliding" : "calendar"}
            options={[
              { value: "calendar", label: "By the calendar", note: "Starts again at the next window" },
              { value: "sliding", label: "Sliding", note: "Always the last minute, hour, day or 30 days" },
            ]}
            onChoose={(chosen) => setSliding(chosen === "sliding")}
          />
        </>
      )}
      <Problem words={saving.error && !error && wordsFor(saving.error)} />
      <Button
        look="primary"
        type="submit"
        className="self-start"
        disabled={saving.isPending || !isReady || (!quota && !subject)}
      >
        {quota ? "Save" : "Set limit"}
      </Button>
    </form>
  );
}

/** Load whom a person can limit: themselves and their API tokens. */
export function OwnSubjects({
  meId,
  children,
}: {
  meId: string;
  children: (subjects: Subject[]) => ReactNode;
}) {
  const { data: tokens = [] } = useQuery(tokensQuery);
  const own: Subject[] = [{ kind: "user", id: meId, label: "Everything I do" }];
  return children([
    ...own,
    ...tokens.map(({ id, name }): Subject => ({ kind: "token", id, label: `API token ${name}` })),
  ]);
}

/** Load whom an administrator can limit: everybody by role, people on a plan, and single people. */
export function AllSubjects({ children }: { children: (subjects: Subject[]) => ReactNode }) {
  const { data: plans = [] } = useQuery(plansQuery);
  const { data: users = [] } = useQuery(usersQuery);
  return children([
    { kind: "role", id: "user", label: "Each user" },
    { kind: "role", id: "admin", label: "Each administrator" },
    ...plans.map(({ id, name }): Subject => ({ kind: "plan", id, label: `Each person on plan ${name}` })),
    ...users.map(({ id, username }): Subject => ({ kind: "user", id, label: username })),
  ]);
}
