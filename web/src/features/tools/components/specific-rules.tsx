import { useQuery } from "@tanstack/react-query";
import { X } from "lucide-react";
import { useState } from "react";
import { Button, IconButton } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Field } from "@/ui/field";
import { Row, Rows } from "@/ui/section";
import { toolsQuery } from "../queries";

type Rule = Record<string, unknown>;
type Specific = { [key: string]: Rule[] | undefined };

const CHOICES = [
  { value: "allow", label: "Runs automatically" },
  { value: "ask", label: "Always asks" },
  { value: "never", label: "Is refused" },
];

/** Rules for single tools and arguments. The first match of a tool applies, and a refusal applies wherever it is. */
export function SpecificRules({
  specific,
  onSave,
}: {
  specific: Specific;
  onSave: (specific: Specific) => void;
}) {
  const { data: tools = [] } = useQuery(toolsQuery);
  const own = Object.entries(specific).flatMap(([key, list]) =>
    (list ?? []).map((rule, index) => ({ key, rule, index })),
  );
  const replace = (key: string, index: number, next: Rule | undefined) => {
    const list = (specific[key] ?? []).flatMap((rule, at) => (at === index ? (next ? [next] : []) : [rule]));
    const { [key]: _, ...others } = specific;
    onSave(list.length ? { ...others, [key]: list } : others);
  };
  return (
    <>
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
      {tools.length > 0 && (
        <AddRule
          keys={tools.map((tool) => tool.key)}
          onAdd={(key, rule) => {
            const list = specific[key] ?? [];
            // A rule for some arguments comes before a rule for all.
            onSave({ ...specific, [key]: rule.arguments ? [rule, ...list] : [...list, rule] });
          }}
        />
      )}
    </>
  );
}

function AddRule({ keys, onAdd }: { keys: string[]; onAdd: (key: string, rule: Rule) => void }) {
  const [key, setKey] = useState(keys[0] ?? "");
  const [choice, setChoice] = useState("ask");
  const [argument, setArgument] = useState("");
  const [pattern, setPattern] = useState("");
  const chosen = keys.includes(key) ? key : (keys[0] ?? "");
  return (
    <form
      className="flex flex-col gap-3"
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
      <div className="flex flex-wrap gap-3">
        <Choice
          label="Tool"
          showLabel
          value={chosen}
          options={keys.map((item) => ({ value: item, label: item }))}
          onChoose={setKey}
        />
        <Choice label="It" showLabel value={choice} options={CHOICES} onChoose={setChoice} />
      </div>
      <div className="grid gap-3 sm:grid-cols-2">
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
      </div>
      <Button type="submit" className="self-start">
        Add the rule
      </Button>
    </form>
  );
}
