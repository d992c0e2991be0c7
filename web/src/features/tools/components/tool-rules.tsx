import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { wordsFor } from "@/api/words";
import { dollars } from "@/lib/money";
import { Button } from "@/ui/button";
import { Field } from "@/ui/field";
import { Section } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
import { Tick } from "@/ui/tick";
import { useToast } from "@/ui/toast";
import { putRules, type Rules, rulesQuery } from "../queries";
import { SpecificRules } from "./specific-rules";

type Update = Parameters<typeof putRules>[0];
type Switch = "read_only_operations" | "low_risk_operations" | "require_approval_for_new_tools";

const SWITCHES: { name: Switch; label: string; hint: string }[] = [
  {
    name: "read_only_operations",
    label: "Run read-only tools automatically",
    hint: "They look into your chats, drafts and files, and change nothing.",
  },
  {
    name: "low_risk_operations",
    label: "Run low-risk tools automatically",
    hint: "They change little, and what they change can be taken back.",
  },
  {
    name: "require_approval_for_new_tools",
    label: "Always ask about a tool that I have not approved before",
    hint: "Also about one that has changed since.",
  },
];

/** What tools may do automatically in all chats. Each chat can be stricter or less strict. */
export function ToolRules() {
  const rules = useQuery(rulesQuery);
  if (rules.error) return <Failed words={wordsFor(rules.error)} onRetry={() => void rules.refetch()} />;
  if (!rules.data) return <Lines widths={["w-full", "w-2/3", "w-full"]} />;
  return <RulesForm rules={rules.data} />;
}

function RulesForm({ rules }: { rules: Rules }) {
  const client = useQueryClient();
  const { say } = useToast();
  const save = async (update: Partial<Update>) => {
    // Another window may have changed the rules since they were rendered.
    const { spent_this_hour, updated_at, ...kept } = client.getQueryData(rulesQuery.queryKey) ?? rules;
    try {
      client.setQueryData(rulesQuery.queryKey, await putRules({ ...(kept as Update), ...update }));
    } catch (error) {
      say(wordsFor(error));
    }
  };
  return (
    <div className="flex flex-col gap-10">
      <Section title="Runs automatically" hint="All other tool calls ask you first.">
        <ul className="flex flex-col gap-3">
          {SWITCHES.map(({ name, label, hint }) => (
            <li key={name} className="flex items-start gap-3">
              <div className="pt-0.5">
                <Tick label={label} isOn={rules[name]} onChange={(isOn) => void save({ [name]: isOn })} />
              </div>
              <div>
                <p>{label}</p>
                <p className="text-sm text-text-muted">{hint}</p>
              </div>
            </li>
          ))}
        </ul>
      </Section>
      <Limits key={`${rules.max_cost_per_tool} ${rules.max_cost_per_hour}`} rules={rules} onSave={save} />
      <Section title="Single tools" hint="A rule for a tool counts before those above.">
        <SpecificRules
          specific={rules.specific_tools}
          onSave={(specific_tools) =>
            void save({ specific_tools: specific_tools as Update["specific_tools"] })
          }
        />
      </Section>
    </div>
  );
}

type PartProps = { rules: Rules; onSave: (update: Partial<Update>) => Promise<void> };

function Limits({ rules, onSave }: PartProps) {
  const [perTool, setPerTool] = useState(plain(rules.max_cost_per_tool));
  const [perHour, setPerHour] = useState(plain(rules.max_cost_per_hour));
  return (
    <Section
      title="What it may cost"
      hint={`In US dollars. In the last hour tools, and models that read what they gave, cost ${dollars(rules.spent_this_hour)}.`}
    >
      <form
        className="flex flex-wrap items-end gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          void onSave({ max_cost_per_tool: perTool, max_cost_per_hour: perHour });
        }}
      >
        <Field
          label="One call at most"
          type="number"
          min={0}
          step="any"
          required
          value={perTool}
          onChange={(event) => setPerTool(event.target.value)}
        />
        <Field
          label="An hour at most"
          type="number"
          min={0}
          step="any"
          required
          value={perHour}
          onChange={(event) => setPerHour(event.target.value)}
        />
        <Button type="submit">Save the limits</Button>
      </form>
    </Section>
  );
}

/** Return an amount without trailing zeros. */
function plain(amount: string): string {
  return String(Number(amount));
}
