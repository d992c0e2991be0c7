import { ChatSettings } from "../chat-settings";
import { Compare } from "../compare";
import { HistoryDialog } from "../history-dialog";
import { TreeMap } from "../tree-map";
import { useChat } from "./provider";

/** The dialogs that open over a chat. */
export function Dialogs() {
  const { chat, messages, slots, actions, dialog, setDialog, setSeveralModels, save } = useChat();
  const close = () => setDialog(undefined);
  return (
    <>
      <ChatSettings
        chat={chat}
        model={slots.modelOf(chat)}
        isOpen={dialog?.kind === "settings"}
        onClose={close}
        onSave={save}
      />
      {dialog?.kind === "history" && <HistoryDialog message={dialog.message} onClose={close} />}
      {dialog?.kind === "map" && (
        <TreeMap
          chatId={chat.id}
          shownIds={new Set(messages.map((message) => message.id))}
          onShow={actions.showSibling}
          onClose={close}
        />
      )}
      {dialog?.kind === "compare" && (
        <Compare message={dialog.message} onShow={actions.showSibling} onClose={close} />
      )}
      {dialog?.kind === "models" &&
        slots.modelsDialog({
          verb: "Ask these with the next message",
          onChoose: setSeveralModels,
          onClose: close,
        })}
      {dialog?.kind === "others" &&
        slots.modelsDialog({
          verb: "Ask now",
          onChoose: (models) => actions.regenerate(dialog.message, models),
          onClose: close,
        })}
    </>
  );
}
