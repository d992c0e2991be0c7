import {
  Bar,
  BarChart,
  CartesianGrid,
  Line,
  LineChart,
  ReferenceLine,
  ResponsiveContainer,
  Tooltip,
  XAxis,
  YAxis,
} from "recharts";
import { shortDay, wholeNumber } from "@/lib/dates";
import { dollars } from "@/lib/money";
import type { Pace } from "../periods";

export type Measure = "cost" | "tokens";
export type Bars = { name: string; value: number }[];
type Props = { bars: Bars; measure: Measure };

const TICK = { fill: "var(--text-muted)", fontSize: 12 };

/** One bar per day. A table below has the same numbers. */
export function DayChart({ bars, measure }: Props) {
  return (
    <div className="h-56" aria-hidden>
      <ResponsiveContainer width="100%" height="100%">
        <BarChart data={bars} margin={{ top: 8, right: 0, bottom: 0, left: 0 }} accessibilityLayer={false}>
          <CartesianGrid vertical={false} stroke="var(--hairline)" />
          <XAxis
            dataKey="name"
            tickFormatter={shortDay}
            tick={TICK}
            axisLine={false}
            tickLine={false}
            minTickGap={24}
          />
          <YAxis tickFormatter={inWords(measure)} tick={TICK} axisLine={false} tickLine={false} width={64} />
          <Tooltip
            cursor={{ fill: "var(--surface-hover)" }}
            isAnimationActive={false}
            content={({ active, payload }) =>
              active && payload?.[0] ? (
                <Told
                  name={shortDay(String(payload[0].payload.name))}
                  value={payload[0].value}
                  measure={measure}
                />
              ) : null
            }
          />
          <Bar
            dataKey="value"
            fill="var(--accent)"
            radius={[3, 3, 0, 0]}
            maxBarSize={28}
            isAnimationActive={false}
          />
        </BarChart>
      </ResponsiveContainer>
    </div>
  );
}

/** What was spent by each day of a month, and what it will be: a line that goes on dashed, and the budget. */
export function PaceChart({ pace, budget }: { pace: Pace; budget: number | undefined }) {
  return (
    <div className="h-56" aria-hidden>
      <ResponsiveContainer width="100%" height="100%">
        <LineChart data={pace} margin={{ top: 8, right: 8, bottom: 0, left: 0 }} accessibilityLayer={false}>
          <CartesianGrid vertical={false} stroke="var(--hairline)" />
          <XAxis
            dataKey="day"
            tickFormatter={shortDay}
            tick={TICK}
            axisLine={false}
            tickLine={false}
            minTickGap={24}
          />
          <YAxis
            tickFormatter={dollars}
            tick={TICK}
            axisLine={false}
            tickLine={false}
            width={64}
            domain={[0, (most: number) => Math.max(most, (budget ?? 0) * 1.05)]}
          />
          {budget !== undefined && <ReferenceLine y={budget} stroke="var(--danger)" strokeDasharray="2 3" />}
          <Line
            dataKey="forecast"
            stroke="var(--text-muted)"
            strokeDasharray="4 4"
            dot={false}
            isAnimationActive={false}
          />
          <Line
            dataKey="spent"
            stroke="var(--accent)"
            strokeWidth={2}
            dot={false}
            isAnimationActive={false}
          />
        </LineChart>
      </ResponsiveContainer>
    </div>
  );
}

const BAR_HEIGHT = 30;

/** One bar for each of the largest groups. The table below has all groups. */
export function ShareChart({ bars, measure }: Props) {
  return (
    <div style={{ height: bars.length * BAR_HEIGHT + 8 }} aria-hidden>
      <ResponsiveContainer width="100%" height="100%">
        <BarChart
          layout="vertical"
          data={bars}
          margin={{ top: 0, right: 8, bottom: 0, left: 0 }}
          accessibilityLayer={false}
        >
          <XAxis type="number" hide />
          <YAxis
            type="category"
            dataKey="name"
            tickFormatter={(name: string) => (name.length > 22 ? `${name.slice(0, 21)}…` : name)}
            tick={TICK}
            axisLine={false}
            tickLine={false}
            width={160}
          />
          <Tooltip
            cursor={{ fill: "var(--surface-hover)" }}
            isAnimationActive={false}
            content={({ active, payload }) =>
              active && payload?.[0] ? (
                <Told name={String(payload[0].payload.name)} value={payload[0].value} measure={measure} />
              ) : null
            }
          />
          <Bar
            dataKey="value"
            fill="var(--accent)"
            radius={[0, 3, 3, 0]}
            maxBarSize={14}
            isAnimationActive={false}
          />
        </BarChart>
      </ResponsiveContainer>
    </div>
  );
}

function Told({ name, value, measure }: { name: string; value: unknown; measure: Measure }) {
  return (
    <div className="rounded-control border border-hairline bg-surface-raised px-3 py-2 text-sm shadow-float">
      <p className="text-text-muted">{name}</p>
      <p className="tabular-nums">{inWords(measure)(Number(value))}</p>
    </div>
  );
}

function inWords(measure: Measure): (value: number) => string {
  return measure === "cost" ? dollars : wholeNumber;
}
