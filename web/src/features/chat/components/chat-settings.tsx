import { useState } from "react";
import { wordsFor } from "@/api/words";
import { wholeNumber } from "@/lib/dates";
import { Button } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Field, TextField } from "@/ui/field";
import { Problem } from "@/ui/problem";
import { Sheet } from "@/ui/sheet";
import type { Chat, ChatUpdate } from "../queries";
import type { UsedModel } from "./chat/provider";

type Props = {
  chat: Chat;
  model: UsedModel | undefined; // undefined if it is not in the list of models
  isOpen: boolean;
  onClose: () => void;
  onSave: (update: ChatUpdate) => Promise<unknown>;
};

type Parameter = "temperature" | "max_tokens" | "top_p" | "frequency_penalty" | "presence_penalty";
const PARAMETERS: { name: Parameter; label: string; hint: string; min: number; max: number; step: number }[] =
  [
    {
      name: "temperature",
      label: "Temperature",
      hint: "0 is strict, 2 is wild. Empty: the model's own.",
      min: 0,
      max: 2,
      step: 0.1,
    },
    {
      name: "max_tokens",
      label: "Longest reply, in tokens",
      hint: "1 to 32,000. Empty: what the model's window allows.",
      min: 1,
      max: 32_000,
      step: 1,
    },
    {
      name: "top_p",
      label: "Top p",
      hint: "0 to 1: only the likeliest words that make up this share. Change this or the temperature, not both.",
      min: 0,
      max: 1,
      step: 0.05,
    },
    {
      name: "frequency_penalty",
      label: "Frequency penalty",
      hint: "-2 to 2: above 0 the same words come back less often.",
      min: -2,
      max: 2,
      step: 0.1,
    },
    {
      name: "presence_penalty",
      label: "Presence penalty",
      hint: "-2 to 2: above 0 it turns to new subjects sooner.",
      min: -2,
      max: 2,
      step: 0.1,
    },
  ];

const IGNORED = "This model ignores it.";
type Settings = Chat["settings"];
const CHOICES = [
  {
    name: "verbosity",
    label: "Length of replies",
    options: [
      { value: "", label: "Model decides" },
      { value: "low", label: "Short" },
      { value: "medium", label: "Medium" },
      { value: "high", label: "Long" },
    ],
  },
  {
    name: "tool_choice",
    label: "Use of tools",
    options: [
      { value: "", label: "Model decides" },
      { value: "required", label: "Required first" },
      { value: "none", label: "Never", note: "The model still knows them" },
    ],
  },
  {
    name: "parallel_tool_calls",
    label: "Several tool calls at once",
    options: [
      { value: "", label: "Default" },
      { value: "true", label: "Allowed" },
      { value: "false", label: "One after another" },
    ],
  },
] as const;

function shownNumbers(chat: Chat): Record<Parameter, string> {
  const shown = PARAMETERS.map(({ name }) => [name, chat.settings[name]?.toString() ?? ""]);
  return Object.fromEntries(shown) as Record<Parameter, string>;
}

function windowHint({ own_window, context_window }: UsedModel): string {
  const held = "For all your chats with this model.";
  if (own_window) return `${held} Empty: what its server says.`;
  if (context_window)
    return `${held} Empty: ${wholeNumber(context_window)}, as its server or the price list says.`;
  return `${held} Empty: 8,192, because its server does not say.`;
}

/** The settings of a chat. An empty field uses the model's default. */
export function ChatSettings({ chat, model, isOpen, onClose, onSave }: Props) {
  return (
    <Sheet title="Chat settings" side="right" isOpen={isOpen} onClose={onClose}>
      <SettingsForm
        key={`${chat.id}-${isOpen}`}
        chat={chat}
        model={model}
        onClose={onClose}
        onSave={onSave}
      />
    </Sheet>
  );
}

function SettingsForm({ chat, model, onClose, onSave }: Omit<Props, "isOpen">) {
  const ignored = model?.ignores ?? [];
  const [prompt, setPrompt] = useState(chat.system_prompt ?? "");
  const [numbers, setNumbers] = useState<Record<Parameter, string>>(() => shownNumbers(chat));
  const [choices, setChoices] = useState({
    verbosity: chat.settings.verbosity ?? "",
    tool_choice: chat.settings.tool_choice ?? "",
    parallel_tool_calls:
      chat.settings.parallel_tool_calls === null ? "" : String(chat.settings.parallel_tool_calls ?? ""),
  });
  const [window, setWindow] = useState(chat.context_window_size?.toString() ?? "");
  const [ownWindow, setOwnWindow] = useState<string>(); // undefined: as it is stored
  const [problem, setProblem] = useState<string>();
  const save = async () => {
    try {
      await onSave({
        system_prompt: prompt.trim() ? prompt : null,
        context_window_size: window === "" ? null : Number(window),
        settings: {
          ...Object.fromEntries(
            PARAMETERS.map(({ name }) => [name, numbers[name] === "" ? null : Number(numbers[name])]),
          ),
          verbosity: (choices.verbosity || null) as Settings["verbosity"],
          tool_choice: (choices.tool_choice || null) as Settings["tool_choice"],
          parallel_tool_calls: choices.parallel_tool_calls ? choices.parallel_tool_calls === "true" : null,
        },
      });
      if (ownWindow !== undefined)
        await model?.saveWindow?.(model, ownWindow === "" ? null : Number(ownWindow));
      onClose();
    } catch (error) {
      setProblem(wordsFor(error));
    }
  };
  return (
    <form
      className="flex flex-col gap-5 p-4"
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      <TextField
        label="Instructions"
        hint={`Sent before the messages, each time. ${prompt.length} of 2,000 characters.`}
        error={prompt.length > 2000 ? `${prompt.length} of at most 2,000 characters.` : undefined}
        value={prompt}
        onChange={(event) => setPrompt(event.target.value)}
      />
      {PARAMETERS.map(({ name, ...field }) => (
        <Field
          key={name}
          type="number"
          {...field}
          hint={ignored.includes(name) ? `${IGNORED} ${field.hint}` : field.hint}
          value={numbers[name]}
          onChange={(event) => setNumbers({ ...numbers, [name]: event.target.value })}
        />
      ))}
      {CHOICES.map(({ name, label, options }) => (
        <Choice
          key={name}
          showLabel
          label={ignored.includes(name) ? `${label} (${IGNORED.toLowerCase().slice(0, -1)})` : label}
          value={choices[name]}
          options={options}
          onChoose={(value) => setChoices({ ...choices, [name]: value })}
        />
      ))}
      <Field
        type="number"
        label="Window to use, in tokens"
        hint="256 or more: how much of this chat is sent at most. Empty: the whole window of the model."
        min={256}
        max={10_000_000}
        step={1}
        value={window}
        onChange={(event) => setWindow(event.target.value)}
      />
      {model?.saveWindow && (
        <Field
          type="number"
          label={`Window of ${model.display_name}, in tokens`}
          hint={windowHint(model)}
          min={256}
          max={10_000_000}
          step={1}
          value={ownWindow ?? model.own_window?.toString() ?? ""}
          onChange={(event) => setOwnWindow(event.target.value)}
        />
      )}
      <p className="text-sm text-text-muted">
        What a model is known to ignore is marked. Others may refuse a value, and then answer without it.
      </p>
      <Problem words={problem} />
      <Button look="primary" type="submit" disabled={prompt.length > 2000}>
        Save
      </Button>
    </form>
  );
}
