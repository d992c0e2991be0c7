import { useState } from "react";
import { wordsFor } from "@/api/words";
import { Button } from "@/ui/button";
import { Field, TextField } from "@/ui/field";
import { Sheet } from "@/ui/sheet";
import type { Chat, ChatUpdate } from "../queries";

type Props = {
  chat: Chat;
  isOpen: boolean;
  onClose: () => void;
  onSave: (update: ChatUpdate) => Promise<unknown>;
};

/** How the model is asked in this chat. An empty field leaves the choice to the model. */
export function ChatSettings({ chat, isOpen, onClose, onSave }: Props) {
  return (
    <Sheet title="Chat settings" side="right" isOpen={isOpen} onClose={onClose}>
      <SettingsForm key={`${chat.id}-${isOpen}`} chat={chat} onClose={onClose} onSave={onSave} />
    </Sheet>
  );
}

function SettingsForm({ chat, onClose, onSave }: Omit<Props, "isOpen">) {
  const [prompt, setPrompt] = useState(chat.system_prompt ?? "");
  const [temperature, setTemperature] = useState(chat.settings.temperature?.toString() ?? "");
  const [maxTokens, setMaxTokens] = useState(chat.settings.max_tokens?.toString() ?? "");
  const [problem, setProblem] = useState<string>();
  const save = async () => {
    try {
      await onSave({
        system_prompt: prompt.trim() ? prompt : null,
        settings: {
          temperature: temperature === "" ? null : Number(temperature),
          max_tokens: maxTokens === "" ? null : Number(maxTokens),
        },
      });
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
      <Field
        label="Temperature"
        hint="0 is strict, 2 is wild. Empty: the model's own."
        type="number"
        min={0}
        max={2}
        step={0.1}
        value={temperature}
        onChange={(event) => setTemperature(event.target.value)}
      />
      <Field
        label="Longest reply, in tokens"
        hint="1 to 32,000. Empty: what the model's window allows."
        type="number"
        min={1}
        max={32_000}
        value={maxTokens}
        onChange={(event) => setMaxTokens(event.target.value)}
      />
      {problem && (
        <p role="alert" className="text-danger">
          {problem}
        </p>
      )}
      <Button look="primary" type="submit" disabled={prompt.length > 2000}>
        Save
      </Button>
    </form>
  );
}
