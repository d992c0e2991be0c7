import { useMutation, useQueryClient, useSuspenseQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { wordsFor, wordsForField } from "@/api/words";
import { Button } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Field } from "@/ui/field";
import { useToast } from "@/ui/toast";
import { meQuery, type User, updateMe } from "../queries";

const THEMES = [
  { value: "system", label: "As the system" },
  { value: "light", label: "Light" },
  { value: "dark", label: "Dark" },
];
const LANGUAGES = [
  { value: "", label: "As the browser" },
  ...["en-GB", "en-US", "es", "de", "fr", "it", "pt-BR", "pt-PT", "nl", "pl", "sv", "ja", "ko", "zh-CN"].map(
    (tag) => ({
      value: tag,
      label: new Intl.DisplayNames([tag], { type: "language" }).of(tag) ?? tag,
    }),
  ),
];

const ZONES = Intl.supportedValuesOf("timeZone").map((zone) => ({
  value: zone,
  label: zone.replaceAll("_", " "),
}));

type Props = { modelChoice: (value: string | null, choose: (chosen: string) => void) => ReactNode };

/** The profile and the preferences. A choice is saved at once, text with the button. */
export function SettingsForm({ modelChoice }: Props) {
  const client = useQueryClient();
  const { say } = useToast();
  const { data: me } = useSuspenseQuery(meQuery);
  const [name, setName] = useState(me.name);
  const [email, setEmail] = useState(me.email ?? "");
  const saving = useMutation({
    mutationFn: updateMe,
    onSuccess: (user: User) => client.setQueryData(meQuery.queryKey, user),
    onError: (error) => say(wordsFor(error)),
  });
  const prefer = (chosen: Partial<User["preferences"]>) => saving.mutate({ preferences: chosen });
  const fieldError = (field: string) => wordsForField(saving.error, field);
  const isChanged = name !== me.name || email !== (me.email ?? "");
  return (
    <div className="flex flex-col gap-10">
      <form
        aria-labelledby="profile"
        className="flex flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          saving.mutate({ name: name.trim(), email: email.trim() || null });
        }}
      >
        <h2 id="profile" className="font-semibold text-lg">
          Profile
        </h2>
        <Field
          label="Your name"
          value={name}
          maxLength={100}
          error={fieldError("name")}
          onChange={(e) => setName(e.target.value)}
        />
        <Field
          label="E-mail"
          hint="Optional. You can sign in with it."
          type="email"
          value={email}
          error={fieldError("email")}
          onChange={(e) => setEmail(e.target.value)}
        />
        <Button look="primary" type="submit" className="self-start" disabled={!isChanged || saving.isPending}>
          Save
        </Button>
      </form>
      <section aria-labelledby="preferences" className="flex flex-col gap-4">
        <h2 id="preferences" className="font-semibold text-lg">
          Preferences
        </h2>
        <Choice
          label="Theme"
          showLabel
          value={me.preferences.theme}
          options={THEMES}
          onChoose={(theme) => prefer({ theme: theme as User["preferences"]["theme"] })}
        />
        <Choice
          label="Language of dates and numbers"
          showLabel
          value={me.preferences.language ?? ""}
          options={LANGUAGES}
          onChoose={(language) => prefer({ language: language || null })}
        />
        <Choice
          label="Time zone"
          showLabel
          value={me.preferences.time_zone ?? ""}
          options={[{ value: "", label: "UTC" }, ...ZONES]}
          onChoose={(zone) => prefer({ time_zone: zone || null })}
        />
        {modelChoice(me.preferences.default_model, (default_model) => prefer({ default_model }))}
        <label className="flex min-h-11 items-center gap-3">
          <input
            type="checkbox"
            className="size-5 accent-(--accent)"
            checked={me.preferences.enable_notifications}
            onChange={(event) => {
              prefer({ enable_notifications: event.target.checked });
              if (event.target.checked && "Notification" in window) void Notification.requestPermission();
            }}
          />
          Tell me of finished replies while the window is hidden
        </label>
      </section>
    </div>
  );
}
