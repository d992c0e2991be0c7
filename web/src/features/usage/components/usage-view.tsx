import { useQuery } from "@tanstack/react-query";
import { lazy, type ReactNode, Suspense, useMemo, useState } from "react";
import { wordsFor } from "@/api/words";
import { languageOf, shortDay, wholeNumber } from "@/lib/dates";
import { dollars } from "@/lib/money";
import { Choice } from "@/ui/choice";
import { Field } from "@/ui/field";
import { Section } from "@/ui/section";
import { Empty, Failed, Lines } from "@/ui/states";
import { daysOf, nowIn, type Period, paceOf, periodBefore, periodOf, SPANS, type Span } from "../periods";
import {
  type Usage,
  type UsageGroup,
  usageExportPath,
  usageQuery,
  type Wanted,
  type Whose,
} from "../queries";
import type { Bars, Measure } from "./charts";
import { Groups, GroupTable, unknownWords } from "./groups";

const DayChart = lazy(() => import("./charts").then((charts) => ({ default: charts.DayChart })));
const PaceChart = lazy(() => import("./charts").then((charts) => ({ default: charts.PaceChart })));
const MEASURES = [
  { value: "cost", label: "Cost" },
  { value: "tokens", label: "Tokens" },
];
const WHOSE = [
  { value: "me", label: "My usage" },
  { value: "everyone", label: "Everybody" },
];

type ViewProps = {
  isAdmin: boolean;
  /** Where days begin and end. */
  timeZone: string;
  chatLink: (chatId: string, title: string) => ReactNode;
  /** The limits that apply, as bars. */
  budgets?: ReactNode;
  /** The limit of dollars for a month, if there is one. */
  monthlyBudget?: number;
  /** A way for administrators to limit a project. */
  limitProject?: (projectId: string, name: string) => ReactNode;
};

/** Tokens and cost by day, model, chat, person, tool and token. */
export function UsageView({ isAdmin, timeZone, chatLink, budgets, monthlyBudget, limitProject }: ViewProps) {
  const [span, setSpan] = useState<Span>("month");
  const [from, setFrom] = useState("");
  const [to, setTo] = useState("");
  const [of, setOf] = useState<Whose>("me");
  const [measure, setMeasure] = useState<Measure>("cost");
  const today = nowIn(timeZone).day;
  const period = useMemo(() => periodOf(span, today, from, to), [span, from, to, today]);
  const wanted = useMemo(() => ({ ...period, timeZone, of }), [period, timeZone, of]);
  const byDay = useQuery(usageQuery("day", wanted));
  const earlier = useQuery(usageQuery("day", { ...wanted, ...periodBefore(span, period, today) }));
  return (
    <div className="flex flex-col gap-10">
      <div className="flex flex-wrap items-end gap-3">
        {isAdmin && (
          <Choice label="Whose" value={of} options={WHOSE} onChoose={(chosen) => setOf(chosen as Whose)} />
        )}
        <Choice label="Time" value={span} options={SPANS} onChoose={(chosen) => setSpan(chosen as Span)} />
        {span === "custom" && (
          <>
            <Field label="From" type="date" value={from} onChange={(event) => setFrom(event.target.value)} />
            <Field label="To" type="date" value={to} onChange={(event) => setTo(event.target.value)} />
          </>
        )}
        <Choice
          label="What is shown"
          value={measure}
          options={MEASURES}
          onChoose={(chosen) => setMeasure(chosen as Measure)}
        />
      </div>
      {byDay.data && <Totals usage={byDay.data} earlier={earlier.data} span={span} />}
      {of === "me" && budgets && <Section title="Budgets">{budgets}</Section>}
      {byDay.isPending ? (
        <Lines widths={["w-1/3", "w-full", "w-full", "w-2/3"]} />
      ) : !byDay.data ? (
        <Failed words={wordsFor(byDay.error)} onRetry={() => void byDay.refetch()} />
      ) : byDay.data.total.requests === 0 ? (
        <Empty level={2} title="Nothing used in this time">
          Each reply appears here as soon as it ends, with its tokens and what it cost.
        </Empty>
      ) : (
        <>
          {span === "month" && (
            <ToTheEnd
              groups={byDay.data.items}
              month={period}
              timeZone={timeZone}
              budget={of === "me" ? monthlyBudget : undefined}
            />
          )}
          <ByDay groups={byDay.data.items} period={period} measure={measure} />
          <AllGroups wanted={wanted} measure={measure} chatLink={chatLink} limitProject={limitProject} />
          <p className="flex flex-wrap gap-x-4 gap-y-1 text-sm">
            {(["csv", "json"] as const).map((format) => (
              <a
                key={format}
                className="text-accent underline"
                href={usageExportPath(wanted, format)}
                download
              >
                Download as {format.toUpperCase()}
              </a>
            ))}
          </p>
        </>
      )}
    </div>
  );
}

type AllProps = { wanted: Wanted; measure: Measure } & Pick<ViewProps, "chatLink" | "limitProject">;

function AllGroups({ wanted, measure, chatLink, limitProject }: AllProps) {
  const { of } = wanted;
  const byModel = useQuery(usageQuery("provider,model", wanted));
  const byChat = useQuery({ ...usageQuery("chat", wanted), enabled: of === "me" });
  const byProject = useQuery(usageQuery("project", wanted));
  const hasProjects = byProject.data?.items.some((group) => group.project_id);
  const byPerson = useQuery({ ...usageQuery("user", wanted), enabled: of === "everyone" });
  const byTool = useQuery(usageQuery("tool", wanted));
  const byToken = useQuery(usageQuery("token", wanted));
  const hasTokens = byToken.data?.items.some((group) => group.token_id);
  return (
    <>
      <Groups
        title="By model"
        query={byModel}
        isShown={(group) => group.provider !== "tools"}
        measure={measure}
        label={(group) => `${group.model_name} · ${group.provider}`}
      />
      {of === "me" && (
        <Groups
          title="By chat"
          query={byChat}
          measure={measure}
          label={(group) => group.chat_title ?? "Chats that are deleted"}
          shown={(group) => group.chat_id && group.chat_title && chatLink(group.chat_id, group.chat_title)}
        />
      )}
      {hasProjects && (
        <Groups
          title="By project"
          query={byProject}
          measure={measure}
          label={projectWords}
          shown={(group) =>
            of === "everyone" &&
            group.project_id && (
              <span className="flex flex-wrap items-center gap-x-3 gap-y-1">
                {projectWords(group)}
                {limitProject?.(group.project_id, projectWords(group))}
              </span>
            )
          }
        />
      )}
      {of === "everyone" && (
        <Groups
          title="By person"
          query={byPerson}
          measure={measure}
          label={(group) => group.username ?? "Deleted accounts"}
        />
      )}
      {(byTool.data?.items.length ?? 0) > 0 && (
        <Groups title="By tool" query={byTool} measure={measure} label={(group) => group.tool_name ?? ""} />
      )}
      {hasTokens && (
        <Groups
          title="By API token"
          query={byToken}
          measure={measure}
          label={(group) => group.token_name ?? "Without a token"}
        />
      )}
    </>
  );
}

/** The name of a project for its members; others, such as administrators, see the end of its ID. */
function projectWords({ project_id, project_name }: UsageGroup): string {
  return project_name ?? (project_id ? `Project ${project_id.slice(-8)}` : "In no project");
}

function cacheWords({ cached_tokens, cache_savings }: Usage["total"]): string {
  const read = `${wholeNumber(cached_tokens)} from a cache`;
  return Number(cache_savings) > 0 ? `${read}, which saved ${dollars(cache_savings)}` : read;
}

const THAN: Partial<Record<Span, string>> = {
  month: "the same days of last month",
  "last-month": "the month before",
};

/** Say how a cost compares with that of the period before. */
function comparedWords(now: string, before: string | undefined, span: Span): string | undefined {
  if (before === undefined || Number(before) === 0) return undefined;
  const share = Math.round((Number(now) / Number(before) - 1) * 100);
  const percent = (Math.abs(share) / 100).toLocaleString(languageOf(), { style: "percent" });
  const than = THAN[span] ?? "the time before";
  return share === 0 ? `as much as ${than}` : `${percent} ${share > 0 ? "more" : "less"} than ${than}`;
}

function Totals({ usage, earlier, span }: { usage: Usage; earlier: Usage | undefined; span: Span }) {
  const { total, messages_today: today } = usage;
  const facts: [string, string, (string | undefined)[]][] = [
    [
      "Cost",
      dollars(total.cost),
      [unknownWords(total.unknown_cost_replies), comparedWords(total.cost, earlier?.total.cost, span)],
    ],
    ["Tokens in", wholeNumber(total.input_tokens), [total.cached_tokens ? cacheWords(total) : undefined]],
    [
      "Tokens out",
      wholeNumber(total.output_tokens),
      [total.thinking_tokens ? `${wholeNumber(total.thinking_tokens)} for thinking` : undefined],
    ],
    [
      "Replies",
      wholeNumber(total.replies),
      [total.estimated_replies ? `${wholeNumber(total.estimated_replies)} cut off, estimated` : undefined],
    ],
  ];
  if (today)
    facts.push([
      "Messages today",
      today.limit === null
        ? wholeNumber(today.count)
        : `${wholeNumber(today.count)} of ${wholeNumber(today.limit)}`,
      [],
    ]);
  return (
    <dl className="grid grid-cols-2 gap-x-6 gap-y-4 sm:grid-cols-5">
      {facts.map(([name, value, notes]) => (
        <div key={name}>
          <dt className="text-sm text-text-muted">{name}</dt>
          <dd className="font-semibold text-lg tabular-nums">{value}</dd>
          {notes.map(
            (note) =>
              note && (
                <dd key={note} className="text-text-muted text-xs">
                  {note}
                </dd>
              ),
          )}
        </div>
      ))}
    </dl>
  );
}

type PaceProps = { groups: UsageGroup[]; month: Period; timeZone: string; budget: number | undefined };

/** What the month will cost at the pace so far, against the budget. */
function ToTheEnd({ groups, month, timeZone, budget }: PaceProps) {
  const pace = useMemo(
    () =>
      paceOf(new Map(groups.map((group) => [group.day ?? "", Number(group.cost)])), month, nowIn(timeZone)),
    [groups, month, timeZone],
  );
  const end = pace.at(-1)?.forecast ?? 0;
  const isOver = budget !== undefined && end > budget;
  const dayOver = isOver ? pace.find((day) => (day.forecast ?? day.spent ?? 0) >= budget)?.day : undefined;
  return (
    <Section
      title="To the end of the month"
      hint={[
        `At this pace, ${dollars(end.toFixed(2))} by the end of the month.`,
        dayOver && `Your budget of ${dollars(budget ?? 0)} is reached on ${shortDay(dayOver)}.`,
        !isOver && budget !== undefined && `Your budget of ${dollars(budget)} suffices.`,
      ]
        .filter(Boolean)
        .join(" ")}
    >
      <Suspense fallback={<div className="h-56" />}>
        <PaceChart pace={pace} budget={budget} />
      </Suspense>
    </Section>
  );
}

function ByDay({ groups, period, measure }: { groups: UsageGroup[]; period: Period; measure: Measure }) {
  const bars = useMemo(() => everyDay(groups, period, measure), [groups, period, measure]);
  return (
    <Section title="By day">
      <Suspense fallback={<div className="h-56" />}>
        <DayChart bars={bars} measure={measure} />
      </Suspense>
      <details>
        <summary className="text-sm text-text-muted">The days as a table</summary>
        <GroupTable groups={groups} name={(group) => shortDay(group.day ?? "")} heading="Day" />
      </details>
    </Section>
  );
}

/** Return a bar for every day, oldest first. Days without replies are 0. */
function everyDay(groups: UsageGroup[], period: Period, measure: Measure): Bars {
  const known = new Map(
    groups.map((group) => [group.day, measure === "cost" ? Number(group.cost) : group.total_tokens]),
  );
  return daysOf(period).map((day) => ({ name: day, value: known.get(day) ?? 0 }));
}
