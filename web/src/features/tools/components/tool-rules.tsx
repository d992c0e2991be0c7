import { useQuery, useQueryClient } from "@tanstack/react-query";
import { X } from "lucide-react";
import { useState } from "react";
import { wordsFor } from "@/api/words";
import { dollars } from "@/lib/money";
import { Button, IconButton } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Field } from "@/ui/field";
import { Row, Rows, Section } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
import { Tick } from "@/ui/tick";
import { useToast } from "@/ui/toast";
import { putRules, type Rules, rulesQuery, toolsQuery } from "../queries";

type Update = Parameters<typeof putRules>[0];
type Switch = "read_only_operations" | "low_risk_operations" | "require_approval_for_new_tools";

const SWITCHES: { name: Switch; label: string; hint: string }[] = [
  {
    name: "read_only_operations",
    label: "Let tools that only read run unasked",
    hint: "They look into your chats, drafts and files, and change nothing.",
  },
  {
    name: "low_risk_operations",
    label: "Let tools of low risk run unasked",
    hint: "They change little, and what they change can be taken back.",
  },
  {
    name: "require_approval_for_new_tools",
    label: "Always ask about a tool that I have not approved before",
    hint: "Also about one that has changed since.",
  },
];

/** What tools may do unasked, everywhere; each chat can be stricter or laxer. */
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
    // As they are known now, not as they were drawn: another window may have changed them.
    const { spent_this_hour, updated_at, ...kept } = client.getQueryData(rulesQuery.queryKey) ?? rules;
    try {
      client.setQueryData(rulesQuery.queryKey, await putRules({ ...(kept as Update), ...update }));
    } catch (error) {
      say(wordsFor(error));
    }
  };
  return (
    <div className="flex flex-col gap-10">
      <Section title="What runs unasked" hint="Whatever no rule lets run asks you first.">
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
      <Specific rules={rules} onSave={save} />
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

const CHOICES = [
  { value: "allow", label: "Runs unasked" },
  { value: "ask", label: "Always asks" },
  { value: "never", label: "Is refused" },
];

function Specific({ rules, onSave }: PartProps) {
  const { data: tools = [] } = useQuery(toolsQuery);
  const own = Object.entries(rules.specific_tools).flatMap(([key, list]) =>
    (list ?? []).map((rule, index) => ({ key, rule, index })),
  );
  const free = tools.filter((tool) => !(tool.key in rules.specific_tools));
  const replace = (key: string, index: number, next: Record<string, unknown> | undefined) => {
    const list = (rules.specific_tools[key] ?? []).flatMap((rule, at) =>
      at === index ? (next ? [next] : []) : [rule],
    );
    const { [key]: _, ...others } = rules.specific_tools;
    void onSave({
      specific_tools: (list.length ? { ...others, [key]: list } : others) as Update["specific_tools"],
    });
  };
  return (
    <Section title="Single tools" hint="A rule for a tool counts before those above.">
      {own.length > 0 && (
        <Rows>
          {own.map(({ key, rule, index }) => (
            <Row
              key={`${key} ${index}`}
              actions={
                <>
                  <Choice
                    label={`What ${key} may do`}
                    value={String(rule.rule)}
                    options={CHOICES}
                    onChoose={(chosen) => replace(key, index, { ...rule, rule: chosen })}
                  />
                  <IconButton
                    label={`Take away the rule for ${key}`}
                    onClick={() => replace(key, index, undefined)}
                  >
                    <X size={16} strokeWidth={1.5} aria-hidden />
                  </IconButton>
                </>
              }
            >
              <p className="font-medium">{key}</p>
              {Object.entries((rule.arguments ?? {}) as Record<string, string>).map(([name, pattern]) => (
                <p key={name} className="font-mono text-sm text-text-muted">
                  {name}: {pattern}
                </p>
              ))}
            </Row>
          ))}
        </Rows>
      )}
      {free.length > 0 && (
        <AddRule
          keys={free.map((tool) => tool.key)}
          onAdd={(key, rule) =>
            void onSave({
              specific_tools: { ...rules.specific_tools, [key]: [rule] } as Update["specific_tools"],
            })
          }
        />
      )}
    </Section>
  );
}

function AddRule({
  keys,
  onAdd,
}: {
  keys: string[];
  onAdd: (key: string, rule: Record<string, unknown>) => void;
}) {
  const [key, setKey] = useState(keys[0] ?? "");
  const [choice, setChoice] = useState("ask");
  const [argument, setArgument] = useState("");
  const [pattern, setPattern] = useState("");
  const chosen = keys.includes(key) ? key : (keys[0] ?? "");
  return (
    <form
      className="flex flex-wrap items-end gap-3"
      onSubmit={(event) => {
        event.preventDefault();
        onAdd(chosen, {
          rule: choice,
          ...(argument.trim() ? { arguments: { [argument.trim()]: pattern } } : {}),
        });
        setArgument("");
        setPattern("");
      }}
    >
      <Choice
        label="Tool"
        showLabel
        value={chosen}
        options={keys.map((one) => ({ value: one, label: one }))}
        onChoose={setKey}
      />
      <Choice label="It" showLabel value={choice} options={CHOICES} onChoose={setChoice} />
      <Field
        label="Only if the argument"
        placeholder="url"
        value={argument}
        onChange={(event) => setArgument(event.target.value)}
      />
      <Field
        label="is like"
        placeholder="https://docs.python.org/*"
        required={argument.trim() !== ""}
        value={pattern}
        onChange={(event) => setPattern(event.target.value)}
      />
      <Button type="submit">Add the rule</Button>
    </form>
  );
}

/** An amount as one types it: without the zeros that say nothing. */
function plain(amount: string): string {
  return String(Number(amount));
}
