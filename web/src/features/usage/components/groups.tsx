import type { UseQueryResult } from "@tanstack/react-query";
import { lazy, type ReactNode, Suspense } from "react";
import { wordsFor } from "@/api/words";
import { wholeNumber } from "@/lib/dates";
import { dollars } from "@/lib/money";
import { Section } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
import { Table } from "@/ui/table";
import type { Usage, UsageGroup } from "../queries";
import type { Bars, Measure } from "./charts";

const ShareChart = lazy(() => import("./charts").then((charts) => ({ default: charts.ShareChart })));

type GroupsProps = {
  title: string;
  query: UseQueryResult<Usage>;
  isShown?: (group: UsageGroup) => boolean;
  measure: Measure;
  label: (group: UsageGroup) => string;
  shown?: (group: UsageGroup) => ReactNode;
};

const DRAWN = 8;

/** What models, chats, people and so on used: the largest drawn, all in a table. */
export function Groups({ title, query, isShown = () => true, measure, label, shown }: GroupsProps) {
  const groups = query.data?.items.filter(isShown);
  const bars = largest(groups ?? [], measure, label);
  if (!groups)
    return (
      <Section title={title}>
        {query.isError ? (
          <Failed words={wordsFor(query.error)} onRetry={() => void query.refetch()} />
        ) : (
          <Lines widths={["w-full", "w-2/3"]} />
        )}
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

export function GroupTable({ groups, name, heading }: TableProps) {
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
          key: [
            group.day,
            group.provider,
            group.model_name,
            group.chat_id,
            group.user_id,
            group.project_id,
            group.tool_name,
            group.token_id,
          ].join(),
          cells: [
            name(group),
            wholeNumber(group.replies),
            <GroupTokens key="tokens" group={group} />,
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

/** The tokens of a group, and how many of them came from a cache or were spent on thinking. */
function GroupTokens({ group }: { group: UsageGroup }) {
  const parts = [
    group.cached_tokens > 0 && `${wholeNumber(group.cached_tokens)} from a cache`,
    group.thinking_tokens > 0 && `${wholeNumber(group.thinking_tokens)} for thinking`,
  ].filter(Boolean);
  return (
    <>
      {wholeNumber(group.total_tokens)}
      {parts.length > 0 && <span className="block text-text-muted text-xs">{parts.join(", ")}</span>}
    </>
  );
}

function GroupCost({ group }: { group: UsageGroup }) {
  if (group.unknown_cost_replies > 0 && group.unknown_cost_replies === group.requests)
    return <span className="text-text-muted">unknown</span>;
  return (
    <>
      {dollars(group.cost)}
      {group.unknown_cost_replies > 0 && (
        <span className="block text-text-muted text-xs">{unknownWords(group.unknown_cost_replies)}</span>
      )}
    </>
  );
}

export function unknownWords(count: number): string | undefined {
  return count ? `and ${wholeNumber(count)} of unknown cost` : undefined;
}
