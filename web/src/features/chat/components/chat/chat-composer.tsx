import { Layers, X } from "lucide-react";
import type { ReactNode } from "react";
import { Button, IconButton } from "@/ui/button";
import { cancelRun } from "../../queries";
import { Composer } from "../composer";
import { CheaperModel, Forecast } from "../forecast";
import { useChat } from "./provider";

type Props = {
  modelChoice: ReactNode; // hidden while several models are chosen
  children?: ReactNode; // further controls left of the send button
};

/** The composer of a chat, or a note for people who may only read it. */
export function ChatComposer({ modelChoice, children }: Props) {
  const {
    chat,
    canWrite,
    messages,
    writing,
    sending,
    presence,
    severalModels,
    setSeveralModels,
    setDialog,
    setEditingId,
    channel,
  } = useChat();
  if (!canWrite)
    return (
      <p className="px-4 pb-4 text-center text-text-muted">
        You may read this chat. Go on from a message in a chat of your own to write.
      </p>
    );
  const send = async (content: string, attachmentIds: string[]) => {
    const models = severalModels.length ? severalModels : undefined;
    const sent = await sending.send(content, { models, attachmentIds });
    setSeveralModels([]);
    if (sent.reply && sent.others.length) setDialog({ kind: "compare", message: sent.reply });
  };
  return (
    <Composer
      key={chat.id} // a message that fails must not come back in another chat
      onTyping={presence.onTyping}
      place={chat.id}
      problem={sending.problem}
      offer={
        sending.isAtLimit && (
          <CheaperModel
            chatId={chat.id}
            model={severalModels[0]}
            verb="Use"
            onChoose={(model) => setSeveralModels([model])}
          />
        )
      }
      cost={(next) => <Forecast chatId={chat.id} models={severalModels} next={next} />}
      onSend={send}
      onStop={writing?.run_id ? () => void cancelRun(writing.run_id ?? "") : undefined}
      people={channel?.people}
      onEditLast={() => setEditingId(messages.findLast((message) => message.role === "user")?.id)}
    >
      {severalModels.length ? (
        <Button look="plain" onClick={() => setSeveralModels([])}>
          {severalModels.length === 1 ? severalModels[0]?.model_name : `${severalModels.length} models`}
          <X size={14} strokeWidth={1.5} aria-label="Ask only the chosen model again" />
        </Button>
      ) : (
        modelChoice
      )}
      {chat.kind !== "channel" && (
        <IconButton label="Ask several models" onClick={() => setDialog({ kind: "models" })}>
          <Layers size={16} strokeWidth={1.5} aria-hidden />
        </IconButton>
      )}
      {children}
    </Composer>
  );
}
