import { useQuery, useQueryClient } from "@tanstack/react-query";
import { X } from "lucide-react";
import { useState } from "react";
import { wordsFor } from "@/api/words";
import { IconButton } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { chatRulesQuery, putChatRules, type ChatRules as Rules } from "../queries";

type Update = Parameters<typeof putChatRules>[1];
type Switch = "read_only_operations" | "low_risk_operations";

const SWITCHES: { name: Switch; label: string }[] = [
  { name: "read_only_operations", label: "Tools that only read" },
  { name: "low_risk_operations", label: "Tools of low risk" },
];
const CHOICES = [
  { value: "null", label: "As everywhere" },
  { value: "true", label: "Run unasked here" },
  { value: "false", label: "Ask here" },
];

/** What may run unasked in this chat, where that is other than everywhere. */
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
  const forget = (key: string) => {
    const { [key]: _, ...others } = rules.specific_tools;
    void save({ specific_tools: others });
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
            options={CHOICES}
            onChoose={(chosen) => void save({ [name]: chosen === "null" ? null : chosen === "true" })}
          />
        ))}
      </div>
      {Object.entries(rules.specific_tools).map(([key, list]) => (
        <p key={key} className="flex items-center gap-2">
          <span className="min-w-0 flex-1">
            <span className="font-medium">{key}</span>{" "}
            <span className="text-sm text-text-muted">
              {list?.some((rule) => rule.rule === "allow") ? "runs unasked" : "has a rule"}
            </span>
          </span>
          <IconButton label={`Ask about ${key} again`} onClick={() => forget(key)}>
            <X size={16} strokeWidth={1.5} aria-hidden />
          </IconButton>
        </p>
      ))}
      {problem && (
        <p role="alert" className="text-danger">
          {problem}
        </p>
      )}
    </section>
  );
}
