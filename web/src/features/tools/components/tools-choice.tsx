import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Wrench } from "lucide-react";
import { useState } from "react";
import { wordsFor } from "@/api/words";
import { Button, IconButton } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { Problem } from "@/ui/problem";
import { Badge } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
import { Tick } from "@/ui/tick";
import { type Tool, toolsQuery } from "../queries";
import { RISKS } from "../words";
import { ChatRules } from "./chat-rules";
import { Definition } from "./values";

type Props = {
  chatId: string;
  modelTakesTools: boolean | null; // null: unknown
  chosen: readonly string[];
  onChoose: (keys: string[]) => Promise<unknown>;
};

/** Choose the tools that the models of a chat may call. */
export function ToolsChoice({ chatId, modelTakesTools, chosen, onChoose }: Props) {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <IconButton
        label={chosen.length ? `Tools: ${chosen.length} offered` : "Tools"}
        aria-pressed={chosen.length > 0}
        className="aria-pressed:bg-accent-quiet aria-pressed:text-accent"
        onClick={() => setOpen(true)}
      >
        <Wrench size={16} strokeWidth={1.5} aria-hidden />
      </IconButton>
      {isOpen && (
        <ToolsDialog
          chatId={chatId}
          modelTakesTools={modelTakesTools}
          chosen={chosen}
          onChoose={onChoose}
          onClose={() => setOpen(false)}
        />
      )}
    </>
  );
}

function ToolsDialog({
  chatId,
  modelTakesTools,
  chosen,
  onChoose,
  onClose,
}: Props & { onClose: () => void }) {
  const tools = useQuery(toolsQuery);
  const [keys, setKeys] = useState(chosen);
  const [problem, setProblem] = useState<string>();
  const change = async (next: string[]) => {
    const before = keys;
    setKeys(next);
    try {
      await onChoose(next);
      setProblem(undefined);
    } catch (error) {
      setKeys(before);
      setProblem(wordsFor(error));
    }
  };
  return (
    <Dialog title="Tools of this chat" isOpen onClose={onClose}>
      <p className="pb-3 text-sm text-text-muted">
        The model may ask for those that are ticked. Your rules decide what runs; all else asks you first.
      </p>
      {modelTakesTools === false && (
        <p className="mb-2 rounded-card bg-warning-quiet px-3 py-2 text-warning">
          The model of this chat is not known to call tools. Choose another one for it to use them.
        </p>
      )}
      <Problem isBoxed className="mb-2" words={problem} />
      {tools.error ? (
        <Failed words={wordsFor(tools.error)} onRetry={() => void tools.refetch()} />
      ) : !tools.data ? (
        <Lines widths={["w-full", "w-2/3"]} />
      ) : (
        bySource(tools.data).map(([server, ofServer]) => (
          <section key={server ?? ""} aria-label={server ? `Tools of ${server}` : "Tools"}>
            {server && (
              <div className="flex items-center justify-between gap-2 pt-4">
                <h3 className="font-medium">{server}</h3>
                <Button
                  look="plain"
                  onClick={() => {
                    const own = ofServer.map((tool) => tool.key);
                    const others = keys.filter((key) => !own.includes(key));
                    void change(own.every((key) => keys.includes(key)) ? others : [...others, ...own]);
                  }}
                >
                  {ofServer.every((tool) => keys.includes(tool.key)) ? "None of them" : "All of them"}
                </Button>
              </div>
            )}
            <ul className="flex flex-col divide-y divide-hairline">
              {ofServer.map((tool) => (
                <ToolRow
                  key={tool.key}
                  tool={tool}
                  isOn={keys.includes(tool.key)}
                  onChange={(isOn) =>
                    void change(isOn ? [...keys, tool.key] : keys.filter((key) => key !== tool.key))
                  }
                />
              ))}
            </ul>
          </section>
        ))
      )}
      <ChatRules chatId={chatId} />
      <p className="pt-4">
        <Link
          to="/settings/tools"
          search={{ chat: chatId }}
          className="text-accent underline underline-offset-2"
        >
          Every call of this chat
        </Link>
      </p>
    </Dialog>
  );
}

/** Group tools by server, built-in tools first. */
function bySource(tools: Tool[]): [string | null, Tool[]][] {
  const groups = new Map<string | null, Tool[]>();
  for (const tool of tools) groups.set(tool.server, [...(groups.get(tool.server) ?? []), tool]);
  return [...groups];
}

function ToolRow({ tool, isOn, onChange }: { tool: Tool; isOn: boolean; onChange: (isOn: boolean) => void }) {
  return (
    <li className="flex items-start gap-3 py-3">
      <div className="pt-0.5">
        <Tick label={tool.name} isOn={isOn} onChange={onChange} />
      </div>
      <div className="min-w-0 flex-1">
        <p className="flex flex-wrap items-center gap-2">
          <span className="font-medium">{tool.name}</span>
          <Badge tone={tool.risk === "high" ? "danger" : "quiet"}>{RISKS[tool.risk]}</Badge>
        </p>
        <div className="text-sm">
          <Definition described={tool} changed={tool.changed} />
        </div>
      </div>
    </li>
  );
}
