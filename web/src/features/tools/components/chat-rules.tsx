import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { wordsFor } from "@/api/words";
import { Button } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Field } from "@/ui/field";
import { Problem } from "@/ui/problem";
import { chatRulesQuery, putChatRules, type ChatRules as Rules } from "../queries";
import { SpecificRules } from "./specific-rules";

type Update = Parameters<typeof putChatRules>[1];
type Switch = "read_only_operations" | "low_risk_operations" | "require_approval_for_new_tools";

const SWITCHES: { name: Switch; label: string }[] = [
  { name: "read_only_operations", label: "Tools that only read" },
  { name: "low_risk_operations", label: "Tools of low risk" },
  { name: "require_approval_for_new_tools", label: "Tools not approved before" },
];
/** For the last switch, true means to ask. */
function choicesOf(name: Switch) {
  const asks = name === "require_approval_for_new_tools";
  return [
    { value: "null", label: "As everywhere" },
    { value: String(!asks), label: asks ? "As others here" : "Run automatically here" },
    { value: String(asks), label: "Ask here" },
  ];
}

/** What may run automatically in this chat, where it differs from the account. */
export function ChatRules({ chatId }: { chatId: string }) {
  const client = useQueryClient();
  const { data: rules } = useQuery(chatRulesQuery(chatId));
  const [problem, setProblem] = useState<string>();
  if (!rules) return null;
  const save = async (update: Partial<Rules>) => {
    try {
      const saved = await putChatRules(chatId, { ...rules, ...update } as Update);
      client.setQueryData(chatRulesQuery(chatId).queryKey, saved);
      setProblem(undefined);
    } catch (error) {
      setProblem(wordsFor(error));
    }
  };
  return (
    <section
      aria-label="Rules of this chat"
      className="mt-4 flex flex-col gap-3 border-hairline border-t pt-4"
    >
      <h3 className="font-semibold">In this chat</h3>
      <div className="flex flex-wrap gap-4">
        {SWITCHES.map(({ name, label }) => (
          <Choice
            key={name}
            label={label}
            showLabel
            value={String(rules[name] ?? null)}
            options={choicesOf(name)}
            onChoose={(chosen) => void save({ [name]: chosen === "null" ? null : chosen === "true" })}
          />
        ))}
      </div>
      <CostLimit
        key={rules.max_cost_per_tool ?? ""}
        limit={rules.max_cost_per_tool ?? null}
        onSave={(max_cost_per_tool) => void save({ max_cost_per_tool })}
      />
      <SpecificRules
        specific={rules.specific_tools}
        onSave={(specific_tools) => void save({ specific_tools: specific_tools as Rules["specific_tools"] })}
      />
      <Problem words={problem} />
    </section>
  );
}

/** The cost limit of one call in this chat. It can only lower the account's limit. */
function CostLimit({ limit, onSave }: { limit: string | null; onSave: (limit: string | null) => void }) {
  const [typed, setTyped] = useState(limit === null ? "" : String(Number(limit)));
  return (
    <form
      className="flex flex-wrap items-end gap-3"
      onSubmit={(event) => {
        event.preventDefault();
        onSave(typed === "" ? null : typed);
      }}
    >
      <Field
        label="One call at most, in US dollars"
        placeholder="as everywhere"
        title="It can only be lower here than everywhere."
        type="number"
        min={0}
        step="any"
        value={typed}
        onChange={(event) => setTyped(event.target.value)}
      />
      <Button type="submit">Save the limit</Button>
    </form>
  );
}
