import { SettingsForm } from "@/features/accounts";
import { ModelChoice } from "@/features/models";
import { Page } from "./page";

export function SettingsPage() {
  return (
    <Page title="Settings">
      <SettingsForm
        modelChoice={(value, choose) => (
          <ModelChoice
            label="Model of new chats"
            showLabel
            value={value ? split(value) : undefined}
            onChoose={(provider, modelName) => choose(`${provider}/${modelName}`)}
          />
        )}
      />
    </Page>
  );
}

function split(model: string): { provider: string; model_name: string } {
  const at = model.indexOf("/");
  return { provider: model.slice(0, at), model_name: model.slice(at + 1) };
}
