import { useMutation, useSuspenseQuery } from "@tanstack/react-query";
import { useState } from "react";
import { wordsFor, wordsForField } from "@/api/words";
import { Button } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Field } from "@/ui/field";
import { Problem } from "@/ui/problem";
import { createConfig, type ProviderConfig, updateConfig, type Vendor, vendorsQuery } from "../queries";

type Props = { config?: ProviderConfig; onDone: (config: ProviderConfig) => void };

/** The form of a provider: its key and its own fields. For a stored provider only filled-in fields change. */
export function ProviderForm({ config, onDone }: Props) {
  const { data: vendors } = useSuspenseQuery(vendorsQuery);
  const [vendorId, setVendorId] = useState(config?.provider ?? vendors[0]?.id ?? "");
  const vendor = vendors.find((item) => item.id === vendorId);
  const [key] = useState(() => crypto.randomUUID());
  const [name, setName] = useState(config?.name ?? "");
  const [apiKey, setApiKey] = useState("");
  const [baseUrl, setBaseUrl] = useState(config?.base_url ?? "");
  const [fields, setFields] = useState<Record<string, string>>(config?.settings ?? {});
  const saving = useMutation({
    mutationFn: () => {
      const common = {
        name: name.trim(),
        base_url: baseUrl.trim() || null,
        settings: ofVendor(vendor, fields),
      };
      return config
        ? updateConfig(config.id, { ...common, api_key: apiKey || undefined })
        : createConfig({ ...common, provider: vendorId, api_key: apiKey || null }, key);
    },
    onSuccess: onDone,
  });
  if (!vendor) return null;
  const problem = saving.error;
  const fieldError = (field: string) => wordsForField(problem, field);
  const fieldNames = [
    "name",
    "api_key",
    "base_url",
    ...vendor.fields.map((field) => `settings.${field.name}`),
  ];
  return (
    <form
      className="flex flex-col gap-4"
      onSubmit={(event) => {
        event.preventDefault();
        saving.mutate();
      }}
    >
      {!config && (
        <Choice
          label="Provider"
          showLabel
          value={vendorId}
          options={vendors.map((item) => ({ value: item.id, label: item.display_name }))}
          onChoose={(chosen) => {
            setVendorId(chosen);
            saving.reset();
          }}
        />
      )}
      {vendor.note && <p className="text-sm text-warning">{vendor.note}</p>}
      {vendor.fields.map((field) => (
        <Field
          key={field.name}
          label={field.label}
          hint={field.help}
          placeholder={field.placeholder}
          value={fields[field.name] ?? ""}
          error={fieldError(`settings.${field.name}`)}
          onChange={(event) => setFields({ ...fields, [field.name]: event.target.value })}
        />
      ))}
      <div className="flex flex-col gap-1">
        <Field
          label={vendor.needs_key ? "Key" : "Key, if it asks for one"}
          hint={config?.key_hint ? `Begins with ${config.key_hint}… Empty: it stays.` : vendor.key_help}
          type="password"
          autoComplete="off"
          spellCheck={false}
          value={apiKey}
          error={fieldError("api_key")}
          onChange={(event) => setApiKey(event.target.value)}
        />
        {vendor.key_url && (
          <a
            href={vendor.key_url}
            target="_blank"
            rel="noopener noreferrer"
            className="self-start text-accent text-sm underline underline-offset-2"
          >
            Get a key at {new URL(vendor.key_url).host}
          </a>
        )}
      </div>
      <Field
        label="Address"
        hint={vendor.base_url ? `Empty: ${vendor.base_url}` : "It usually ends in /v1."}
        type="url"
        placeholder="https://"
        value={baseUrl}
        error={fieldError("base_url")}
        onChange={(event) => setBaseUrl(event.target.value)}
      />
      <Field
        label="Name"
        hint="Only if you have this provider twice, such as “work”."
        maxLength={40}
        value={name}
        error={fieldError("name")}
        onChange={(event) => setName(event.target.value)}
      />
      <Problem words={problem && !fieldNames.some(fieldError) && wordsFor(problem)} />
      <p className="text-sm text-text-muted">
        The key is encrypted on this server, used for your chats alone, and never shown again.
      </p>
      <Button look="primary" type="submit" className="self-start" disabled={saving.isPending}>
        {config ? "Save" : "Add"}
      </Button>
    </form>
  );
}

function ofVendor(vendor: Vendor | undefined, fields: Record<string, string>): Record<string, string> {
  const known = vendor?.fields.map((field) => [field.name, fields[field.name]?.trim() ?? ""]) ?? [];
  return Object.fromEntries(known.filter(([, value]) => value));
}
