import { useQuery } from "@tanstack/react-query";
import { lazy, type ReactNode, Suspense, useMemo, useState } from "react";
import { wordsFor } from "@/api/words";
import { shortDay, wholeNumber } from "@/lib/dates";
import { dollars } from "@/lib/money";
import { Choice } from "@/ui/choice";
import { Section } from "@/ui/section";
import { Empty, Failed, Lines } from "@/ui/states";
import { Table } from "@/ui/table";
import { type Usage, type UsageGroup, usageQuery } from "../queries";
import type { Bars, Measure } from "./charts";

const DayChart = lazy(() => import("./charts").then((charts) => ({ default: charts.DayChart })));
const ShareChart = lazy(() => import("./charts").then((charts) => ({ default: charts.ShareChart })));
const SPANS = [
  { value: "7", label: "Last 7 days" },
  { value: "30", label: "Last 30 days" },
  { value: "90", label: "Last 90 days" },
  { value: "365", label: "Last year" },
];
const MEASURES = [
  { value: "cost", label: "Cost" },
  { value: "tokens", label: "Tokens" },
];

/** Tokens and cost by day, model and chat. */
export function UsageView({ chatLink }: { chatLink: (chatId: string, title: string) => ReactNode }) {
  const [days, setDays] = useState("30");
  const [measure, setMeasure] = useState<Measure>("cost");
  const byDay = useQuery(usageQuery("day", Number(days)));
  const byModel = useQuery(usageQuery("provider,model", Number(days)));
  const byChat = useQuery(usageQuery("chat", Number(days)));
  if (byDay.isPending) return <Lines widths={["w-1/3", "w-full", "w-full", "w-2/3"]} />;
  if (!byDay.data) return <Failed words={wordsFor(byDay.error)} onRetry={() => void byDay.refetch()} />;
  return (
    <div className="flex flex-col gap-10">
      <div className="flex flex-wrap items-end gap-3">
        <Choice label="Time" value={days} options={SPANS} onChoose={setDays} />
        <Choice
          label="What is shown"
          value={measure}
          options={MEASURES}
          onChoose={(chosen) => setMeasure(chosen as Measure)}
        />
      </div>
      <Totals usage={byDay.data} />
      {byDay.data.total.replies === 0 ? (
        <Empty level={2} title="Nothing used in this time">
          Each reply appears here as soon as it ends, with its tokens and what it cost.
        </Empty>
      ) : (
        <>
          <ByDay groups={byDay.data.items} days={Number(days)} measure={measure} />
          <Groups
            title="By model"
            groups={byModel.data?.items}
            measure={measure}
            label={(group) => `${group.model_name} · ${group.provider}`}
          />
          <Groups
            title="By chat"
            groups={byChat.data?.items}
            measure={measure}
            label={(group) => group.chat_title ?? "Chats that are deleted"}
            shown={(group) => group.chat_id && group.chat_title && chatLink(group.chat_id, group.chat_title)}
          />
        </>
      )}
    </div>
  );
}

function cacheWords({ cached_tokens, cache_savings }: Usage["total"]): string {
  const read = `${wholeNumber(cached_tokens)} from a cache`;
  return Number(cache_savings) > 0 ? `${read}, which saved ${dollars(cache_savings)}` : read;
}

function Totals({ usage }: { usage: Usage }) {
  const { total, messages_today: today } = usage;
  const facts: [string, string, string?][] = [
    ["Cost", dollars(total.cost), unknownWords(total.unknown_cost_replies)],
    ["Tokens in", wholeNumber(total.input_tokens), total.cached_tokens ? cacheWords(total) : undefined],
    ["Tokens out", wholeNumber(total.output_tokens)],
    [
      "Replies",
      wholeNumber(total.replies),
      total.estimated_replies ? `${wholeNumber(total.estimated_replies)} cut off, estimated` : undefined,
    ],
    [
      "Messages today",
      today.limit === null
        ? wholeNumber(today.count)
        : `${wholeNumber(today.count)} of ${wholeNumber(today.limit)}`,
    ],
  ];
  return (
    <dl className="grid grid-cols-2 gap-x-6 gap-y-4 sm:grid-cols-5">
      {facts.map(([name, value, note]) => (
        <div key={name}>
          <dt className="text-sm text-text-muted">{name}</dt>
          <dd className="font-semibold text-lg tabular-nums">{value}</dd>
          {note && <dd className="text-text-muted text-xs">{note}</dd>}
        </div>
      ))}
    </dl>
  );
}

function ByDay({ groups, days, measure }: { groups: UsageGroup[]; days: number; measure: Measure }) {
  const bars = useMemo(() => everyDay(groups, days, measure), [groups, days, measure]);
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
function everyDay(groups: UsageGroup[], days: number, measure: Measure) {
  const known = new Map(
    groups.map((group) => [group.day, measure === "cost" ? Number(group.cost) : group.total_tokens]),
  );
  return Array.from({ length: days }, (_, back) => {
    const moment = new Date();
    moment.setDate(moment.getDate() - (days - 1 - back));
    const day = `${moment.getFullYear()}-${String(moment.getMonth() + 1).padStart(2, "0")}-${String(moment.getDate()).padStart(2, "0")}`;
    return { name: day, value: known.get(day) ?? 0 };
  });
}

type GroupsProps = {
  title: string;
  groups: UsageGroup[] | undefined;
  measure: Measure;
  label: (group: UsageGroup) => string;
  shown?: (group: UsageGroup) => ReactNode;
};
const DRAWN = 8;

function Groups({ title, groups, measure, label, shown }: GroupsProps) {
  const bars = useMemo(() => largest(groups ?? [], measure, label), [groups, measure, label]);
  if (!groups)
    return (
      <Section title={title}>
        <Lines widths={["w-full", "w-2/3"]} />
      </Section>
    );
  return (
    <Section title={title}>
      <Suspense fallback={null}>{bars.length > 0 && <ShareChart bars={bars} measure={measure} />}</Suspense>
      <GroupTable groups={groups} name={(group) => shown?.(group) || label(group)} heading={title.slice(3)} />
    </Section>
  );
}

/** Return bars of the groups that have a value, largest first. */
function largest(groups: UsageGroup[], measure: Measure, label: (group: UsageGroup) => string): Bars {
  return groups
    .map((group) => ({
      name: label(group),
      value: measure === "cost" ? Number(group.cost) : group.total_tokens,
    }))
    .filter((bar) => bar.value > 0)
    .toSorted((group, other) => other.value - group.value)
    .slice(0, DRAWN);
}

const SHOWN = 50;
type TableProps = { groups: UsageGroup[]; name: (group: UsageGroup) => ReactNode; heading: string };

function GroupTable({ groups, name, heading }: TableProps) {
  return (
    <>
      <Table
        columns={[
          { title: heading },
          { title: "Replies", isNumber: true },
          { title: "Tokens", isNumber: true },
          { title: "Cost", isNumber: true },
        ]}
        rows={groups.slice(0, SHOWN).map((group) => ({
          key: [group.day, group.provider, group.model_name, group.chat_id].join(),
          cells: [
            name(group),
            wholeNumber(group.replies),
            wholeNumber(group.total_tokens),
            <GroupCost key="cost" group={group} />,
          ],
        }))}
      />
      {groups.length > SHOWN && (
        <p className="pt-2 text-sm text-text-muted">and {wholeNumber(groups.length - SHOWN)} more</p>
      )}
    </>
  );
}

function GroupCost({ group }: { group: UsageGroup }) {
  if (group.unknown_cost_replies === group.replies) return <span className="text-text-muted">unknown</span>;
  return (
    <>
      {dollars(group.cost)}
      {group.unknown_cost_replies > 0 && (
        <span className="block text-text-muted text-xs">{unknownWords(group.unknown_cost_replies)}</span>
      )}
    </>
  );
}

function unknownWords(count: number): string | undefined {
  return count ? `and ${wholeNumber(count)} of unknown cost` : undefined;
}
