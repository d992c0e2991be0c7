import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { ApiError, type Schemas } from "@/api/client";
import { wordsFor } from "@/api/words";
import { Button } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Field } from "@/ui/field";
import { Problem } from "@/ui/problem";
import { Tick } from "@/ui/tick";
import { named } from "../hidden";
import { answerQuestion, callsQuery, placeCall, type Question, type ToolCall } from "../queries";
import { PlainText } from "./values";

type FieldSchema = {
  type?: string;
  title?: string;
  description?: string;
  default?: Value;
  format?: string;
  enum?: string[];
  enumNames?: string[];
  oneOf?: { const: string; title?: string }[];
  items?: {
    enum?: string[];
    anyOf?: { const: string; title?: string }[];
    oneOf?: { const: string; title?: string }[];
  };
  minimum?: number;
  maximum?: number;
  maxLength?: number;
};
type Values = NonNullable<Schemas["AnswerQuestion"]["content"]>;
type Value = Values[string];

const INPUTS: Record<string, string> = { email: "email", uri: "url", date: "date" };

/** A question of a running tool: a form of its server, or a page to open. */
export function QuestionForm({ call, question }: { call: ToolCall; question: Question }) {
  const client = useQueryClient();
  const fields = Object.entries((question.form?.properties ?? {}) as Record<string, FieldSchema>);
  const required = (question.form?.required ?? []) as string[];
  const [values, setValues] = useState<Values>(() =>
    Object.fromEntries(
      fields.flatMap(([name, field]) => (field.default === undefined ? [] : [[name, field.default]])),
    ),
  );
  const [problem, setProblem] = useState<string>();
  const [isBusy, setBusy] = useState(false);
  const answer = async (action: "accept" | "decline" | "cancel") => {
    setBusy(true);
    setProblem(undefined);
    try {
      const content = action === "accept" && question.form ? filled(fields, values) : undefined;
      placeCall(client, await answerQuestion(call.id, { question_id: question.id, action, content }));
    } catch (error) {
      setProblem(wordsFor(error));
      if (error instanceof ApiError && error.status === 409)
        void client.invalidateQueries(callsQuery(call.message_id));
    }
    setBusy(false);
  };
  return (
    <form
      className="flex flex-col gap-3 rounded-control bg-surface-quiet px-3 py-3"
      onSubmit={(event) => {
        event.preventDefault();
        void answer("accept");
      }}
    >
      <p className="text-sm text-text-muted">{call.server ?? call.tool_name} asks:</p>
      <p>
        <PlainText text={question.message} />
      </p>
      {question.url && (
        <p className="break-all text-sm">
          It wants you to open a page of{" "}
          <a
            href={question.url}
            target="_blank"
            rel="noopener noreferrer"
            className="text-accent underline underline-offset-2"
          >
            {new URL(question.url).host}
          </a>
          . Look at the address before you enter anything there.
        </p>
      )}
      {fields.map(([name, field]) => (
        <OneField
          key={name}
          name={name}
          field={field}
          isRequired={required.includes(name)}
          value={values[name]}
          onChange={(value) => setValues((known) => ({ ...known, [name]: value }))}
        />
      ))}
      {question.form && (
        <p className="text-sm text-text-muted">What you enter goes to the server. Enter no passwords.</p>
      )}
      <Problem words={problem} />
      <div className="flex flex-wrap gap-2">
        <Button look="primary" type="submit" disabled={isBusy} className="pointer-coarse:min-h-11">
          {question.url ? "I have done so" : "Send"}
        </Button>
        <Button disabled={isBusy} className="pointer-coarse:min-h-11" onClick={() => void answer("decline")}>
          Decline
        </Button>
        <Button
          look="plain"
          disabled={isBusy}
          className="pointer-coarse:min-h-11"
          onClick={() => void answer("cancel")}
        >
          Dismiss
        </Button>
      </div>
    </form>
  );
}

type FieldProps = {
  name: string;
  field: FieldSchema;
  isRequired: boolean;
  value: Value | undefined;
  onChange: (value: Value) => void;
};

function OneField({ name, field, isRequired, value, onChange }: FieldProps) {
  const title = named(field.title ?? name);
  const hint = field.description && named(field.description);
  const label = `${title}${isRequired ? "" : " (may be left empty)"}`;
  const choices = choicesOf(field);
  if (field.type === "boolean")
    return (
      <div className="flex items-start gap-3">
        <div className="pt-0.5">
          <Tick label={title} isOn={value === true} onChange={onChange} />
        </div>
        <div>
          <p>{title}</p>
          {hint && <p className="text-sm text-text-muted">{hint}</p>}
        </div>
      </div>
    );
  if (field.type === "array") {
    const chosen = Array.isArray(value) ? (value as string[]) : [];
    return (
      <fieldset className="flex flex-col gap-1">
        <legend className="font-medium">{label}</legend>
        {choices.map((choice) => (
          <div key={choice.value} className="flex items-center gap-3">
            <Tick
              label={choice.label}
              isOn={chosen.includes(choice.value)}
              onChange={(isOn) =>
                onChange(isOn ? [...chosen, choice.value] : chosen.filter((other) => other !== choice.value))
              }
            />
            {choice.label}
          </div>
        ))}
      </fieldset>
    );
  }
  if (choices.length > 0)
    return (
      <Choice
        label={label}
        showLabel
        value={typeof value === "string" ? value : ""}
        options={choices}
        onChoose={onChange}
      />
    );
  const isNumber = field.type === "number" || field.type === "integer";
  return (
    <Field
      label={label}
      hint={hint}
      type={isNumber ? "number" : (INPUTS[field.format ?? ""] ?? "text")}
      step={field.type === "integer" ? 1 : "any"}
      min={field.minimum}
      max={field.maximum}
      maxLength={field.maxLength}
      required={isRequired}
      value={value === undefined || value === null ? "" : String(value)}
      onChange={(event) => onChange(event.target.value)}
    />
  );
}

function choicesOf(field: FieldSchema): { value: string; label: string }[] {
  const from = field.type === "array" ? field.items : field;
  const titled = (from as FieldSchema | undefined)?.oneOf ?? field.items?.anyOf;
  if (titled)
    return titled.map((option) => ({ value: option.const, label: named(option.title ?? option.const) }));
  return (from?.enum ?? []).map((value, index) => ({
    value,
    label: named(field.enumNames?.[index] ?? value),
  }));
}

/** Convert the filled-in fields to their types. Empty fields are left out. */
export function filled(fields: [string, FieldSchema][], values: Values): Values {
  return Object.fromEntries(
    fields.flatMap(([name, field]) => {
      const value = values[name];
      if (value === undefined || value === "") return field.type === "boolean" ? [[name, false]] : [];
      const isNumber = field.type === "number" || field.type === "integer";
      return [[name, isNumber ? Number(value) : value]];
    }),
  );
}
