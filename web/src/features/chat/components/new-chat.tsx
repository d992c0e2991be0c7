import { useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useRef, useState } from "react";
import type { Schemas } from "@/api/client";
import { wordsFor } from "@/api/words";
import { keepText } from "@/lib/kept-text";
import { Tick } from "@/ui/tick";
import { placeChat, placeSent } from "../cache";
import { createChat, sendMessage } from "../queries";
import { Composer } from "./composer";
import { Forecast } from "./forecast";

type Model = { provider: string; model_name: string };
type Props = {
  project?: { id: string; name: string; others: number }; // the chat is created in it
  onMade: (chatId: string) => void;
  menuButton: ReactNode;
  notice: ReactNode;
  modelChoice: (value: Model | undefined, choose: (provider: string, modelName: string) => void) => ReactNode;
  replyChoices: (
    model: Model | undefined,
    settings: NewSettings,
    change: (settings: NewSettings) => void,
  ) => ReactNode;
};

export type NewSettings = Pick<Schemas["SettingsRead"], "reasoning_effort" | "web_search" | "make_pictures">;

const EXAMPLE = "Explain to me, as to a curious friend, why bread rises.";

/** The page of a new chat. The chat is created with the first message. */
export function NewChat({ project, onMade, menuButton, notice, modelChoice, replyChoices }: Props) {
  const client = useQueryClient();
  const [model, setModel] = useState<Model>();
  const [settings, setSettings] = useState<NewSettings>({
    reasoning_effort: null,
    web_search: null,
    make_pictures: null,
  });
  const [problem, setProblem] = useState<string>();
  const [isOpen, setOpen] = useState(true);
  // A retry uses the chat of the first attempt, so that no empty chat remains.
  const created = useRef<{ chatId: string; content: string; key: string }>(undefined);
  const send = async (content: string, attachmentIds: string[] = []) => {
    setProblem(undefined);
    try {
      if (created.current?.content !== content) {
        const chat = await createChat(
          {
            ...model,
            settings,
            ...(project && { project_id: project.id, is_open_to_project: isOpen && project.others > 0 }),
          },
          crypto.randomUUID(),
        );
        placeChat(client, chat);
        client.setQueryData(["messages", chat.id], {
          pages: [{ items: [], next_cursor: null }],
          pageParams: [undefined],
        });
        created.current = { chatId: chat.id, content, key: crypto.randomUUID() };
      }
      placeSent(
        client,
        await sendMessage(created.current.chatId, content, created.current.key, {
          attachment_ids: attachmentIds.length ? attachmentIds : undefined,
        }),
      );
      keepText("new", "");
      onMade(created.current.chatId);
    } catch (error) {
      setProblem(wordsFor(error));
      throw error;
    }
  };
  return (
    <>
      <header className="flex min-h-14 items-center gap-2 px-3">{menuButton}</header>
      <div className="m-auto flex w-full max-w-read flex-col gap-4 px-4 pb-6 text-center">
        <h1 className="font-serif text-2xl">What shall we talk about?</h1>
        {project && (
          <div className="flex flex-wrap items-center justify-center gap-x-4 gap-y-2 text-text-muted">
            <span>In {project.name}</span>
            {project.others > 0 && (
              <span className="flex items-center gap-2">
                <Tick label="Open to its members" isOn={isOpen} onChange={setOpen} />
                <span aria-hidden>Open to its members</span>
              </span>
            )}
          </div>
        )}
        <button
          type="button"
          className="mx-auto max-w-full rounded-card px-4 py-2 text-md text-text-muted hover:bg-surface-hover hover:text-text"
          onClick={() => void send(EXAMPLE).catch(() => undefined)}
        >
          {EXAMPLE}
        </button>
      </div>
      {notice}
      <Composer
        place="new"
        problem={problem}
        onSend={send}
        cost={(next) => <Forecast models={model ? [model] : []} next={next} />}
      >
        {modelChoice(model, (provider, model_name) => setModel({ provider, model_name }))}
        {replyChoices(model, settings, setSettings)}
      </Composer>
    </>
  );
}
