import { Bar, BarChart, CartesianGrid, ResponsiveContainer, Tooltip, XAxis, YAxis } from "recharts";
import { shortDay, wholeNumber } from "@/lib/dates";
import { dollars } from "@/lib/money";

export type DayBar = { day: string; value: number };
type Props = { days: DayBar[]; measure: "cost" | "tokens" };

/** One bar a day. The same numbers stand in a table below, for whoever reads rather than looks. */
export default function DayChart({ days, measure }: Props) {
  const shown = (value: number) => (measure === "cost" ? dollars(value) : wholeNumber(value));
  return (
    <div className="h-56" aria-hidden>
      <ResponsiveContainer width="100%" height="100%">
        <BarChart data={days} margin={{ top: 8, right: 0, bottom: 0, left: 0 }} accessibilityLayer={false}>
          <CartesianGrid vertical={false} stroke="var(--hairline)" />
          <XAxis
            dataKey="day"
            tickFormatter={shortDay}
            tick={{ fill: "var(--text-muted)", fontSize: 12 }}
            axisLine={false}
            tickLine={false}
            minTickGap={24}
          />
          <YAxis
            tickFormatter={shown}
            tick={{ fill: "var(--text-muted)", fontSize: 12 }}
            axisLine={false}
            tickLine={false}
            width={64}
          />
          <Tooltip
            cursor={{ fill: "var(--surface-hover)" }}
            isAnimationActive={false}
            content={({ active, payload }) =>
              active && payload?.[0] ? (
                <div className="rounded-control border border-hairline bg-surface-raised px-3 py-2 text-sm shadow-float">
                  <p className="text-text-muted">{shortDay(String(payload[0].payload.day))}</p>
                  <p className="tabular-nums">{shown(Number(payload[0].value))}</p>
                </div>
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
