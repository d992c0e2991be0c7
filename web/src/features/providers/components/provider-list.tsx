import { useInfiniteQuery, useMutation, useQueryClient, useSuspenseQuery } from "@tanstack/react-query";
import { CircleAlert, CircleCheck, MoreHorizontal } from "lucide-react";
import { Suspense, useState } from "react";
import { wordsFor } from "@/api/words";
import { relativeTime, wholeNumber } from "@/lib/dates";
import { Button, IconButton } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Menu } from "@/ui/menu";
import { Badge, Row, Rows, Section } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import {
  configsQuery,
  type ProviderConfig,
  type ProviderTest,
  removeConfig,
  testConfig,
  updateConfig,
  vendorsQuery,
} from "../queries";
import { ProviderForm } from "./provider-form";

/** The user's providers: add, test, set as default, deactivate, remove. */
export function ProviderList() {
  const configs = useInfiniteQuery(configsQuery);
  const [editing, setEditing] = useState<ProviderConfig | "new">();
  const [tests, setTests] = useState<Record<string, ProviderTest | "running">>({});
  const client = useQueryClient();
  const { say } = useToast();
  const refresh = async () => {
    await client.invalidateQueries({ queryKey: configsQuery.queryKey });
    await client.invalidateQueries({ queryKey: ["models"] });
  };
  const test = async (config: ProviderConfig) => {
    setTests((known) => ({ ...known, [config.id]: "running" }));
    try {
      const result = await testConfig(config.id);
      setTests((known) => ({ ...known, [config.id]: result }));
    } catch (error) {
      setTests(({ [config.id]: _, ...rest }) => rest);
      say(wordsFor(error));
    }
    await refresh();
  };
  const items = configs.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <Section
      title="Your providers"
      hint="Use models with keys of your own. What you pay is between you and the provider."
      action={<Button onClick={() => setEditing("new")}>Add a provider</Button>}
    >
      {configs.isPending ? (
        <Lines widths={["w-2/3", "w-1/2"]} />
      ) : configs.error && items.length === 0 ? (
        <Failed words={wordsFor(configs.error)} onRetry={() => void configs.refetch()} />
      ) : items.length === 0 ? (
        <p className="text-text-muted">
          None yet. With a key from OpenAI, Anthropic, Mistral or one of twenty others, or your own Ollama,
          their models appear in every chat.
        </p>
      ) : (
        <Rows>
          {items.map((config) => (
            <Suspense key={config.id} fallback={null}>
              <ProviderRow
                config={config}
                tested={tests[config.id]}
                onTest={() => void test(config)}
                onEdit={() => setEditing(config)}
                onChanged={refresh}
              />
            </Suspense>
          ))}
        </Rows>
      )}
      <Dialog
        title={editing === "new" ? "Add a provider" : "Change the provider"}
        isOpen={editing !== undefined}
        onClose={() => setEditing(undefined)}
      >
        <Suspense fallback={<Lines widths={["w-full", "w-2/3"]} />}>
          {editing && (
            <ProviderForm
              config={editing === "new" ? undefined : editing}
              onDone={(config) => {
                setEditing(undefined);
                void test(config);
              }}
            />
          )}
        </Suspense>
      </Dialog>
    </Section>
  );
}

type RowProps = {
  config: ProviderConfig;
  tested: ProviderTest | "running" | undefined;
  onTest: () => void;
  onEdit: () => void;
  onChanged: () => Promise<void>;
};

function ProviderRow({ config, tested, onTest, onEdit, onChanged }: RowProps) {
  const { say } = useToast();
  const { data: vendors } = useSuspenseQuery(vendorsQuery);
  const vendor = vendors.find((item) => item.id === config.provider);
  const [isRemoving, setRemoving] = useState(false);
  const changing = useMutation({
    mutationFn: (update: Parameters<typeof updateConfig>[1]) => updateConfig(config.id, update),
    onSettled: onChanged,
    onError: (error) => say(wordsFor(error)),
  });
  const removing = useMutation({
    mutationFn: () => removeConfig(config.id),
    onSettled: onChanged,
    onError: (error) => say(wordsFor(error)),
  });
  const shown = `${vendor?.display_name ?? config.provider}${config.name ? ` · ${config.name}` : ""}`;
  return (
    <Row
      actions={
        <>
          <Button onClick={onTest} disabled={tested === "running"}>
            {tested === "running" ? "Testing …" : "Test"}
          </Button>
          <Menu
            trigger={
              <IconButton label={`What to do with ${shown}`}>
                <MoreHorizontal size={18} strokeWidth={1.5} aria-hidden />
              </IconButton>
            }
            entries={[
              { label: "Change", onChoose: onEdit },
              ...(config.is_default || !config.is_active
                ? []
                : [{ label: "Use for new chats", onChoose: () => changing.mutate({ is_default: true }) }]),
              config.is_active
                ? { label: "Put aside", onChoose: () => changing.mutate({ is_active: false }) }
                : { label: "Use again", onChoose: () => changing.mutate({ is_active: true }) },
              { label: "Remove", isDangerous: true, onChoose: () => setRemoving(true) },
            ]}
          />
        </>
      }
    >
      <p className="flex flex-wrap items-center gap-2">
        {shown}
        {config.is_default && <Badge tone="accent">For new chats</Badge>}
        {!config.is_active && <Badge>Put aside</Badge>}
      </p>
      <p className="text-sm text-text-muted">
        {[
          config.key_hint && `key ${config.key_hint}…`,
          config.base_url,
          config.model_count > 0 && `${wholeNumber(config.model_count)} models`,
          config.last_used_at ? `used ${relativeTime(config.last_used_at)}` : "not used yet",
        ]
          .filter(Boolean)
          .join(" · ")}
      </p>
      <TestResult tested={tested} lastError={config.last_error} />
      <Dialog title={`Remove ${shown}?`} isOpen={isRemoving} onClose={() => setRemoving(false)}>
        <p className="pb-4">
          Its key is deleted and cannot be brought back. Chats that use it keep every word, and ask for
          another model.
        </p>
        <div className="flex gap-2">
          <Button
            look="primary"
            onClick={() => {
              setRemoving(false);
              removing.mutate();
            }}
          >
            Remove
          </Button>
          <Button onClick={() => setRemoving(false)}>Keep it</Button>
        </div>
      </Dialog>
    </Row>
  );
}

/** The result of the latest test, or the last error of the model list. */
function TestResult({
  tested,
  lastError,
}: {
  tested: ProviderTest | "running" | undefined;
  lastError: string | null;
}) {
  if (tested === "running") return null;
  const isFine = tested ? tested.ok : lastError === null;
  if (isFine && !tested) return null;
  const Icon = isFine ? CircleCheck : CircleAlert;
  return (
    <p
      role="status"
      className={`flex items-start gap-1.5 pt-1 text-sm ${isFine ? "text-success" : "text-danger"}`}
    >
      <Icon size={16} strokeWidth={1.5} aria-hidden className="mt-0.5 shrink-0" />
      {isFine ? `It works. ${tested?.detail}` : (tested?.detail ?? lastError)}
    </p>
  );
}
