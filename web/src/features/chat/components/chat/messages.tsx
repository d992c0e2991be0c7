import { useCallback } from "react";
import { wordsFor } from "@/api/words";
import { Empty, Failed, Lines } from "@/ui/states";
import type { Message } from "../../reducer";
import { MessageList } from "../message-list";
import { useChat } from "./provider";

/** The messages of the shown branch, with loading, error and empty states. */
export function Messages() {
  const {
    chat,
    targetId,
    meId,
    isOwn,
    canWrite,
    slots,
    channel,
    messages,
    loaded,
    sending,
    actions,
    editingId,
    setEditingId,
  } = useChat();
  const { fetchNextPage } = loaded;
  const loadOlder = useCallback(() => void fetchNextPage(), [fetchNextPage]);
  if (loaded.isPending)
    return (
      <div className="mx-auto w-full max-w-read flex-1 p-6">
        <Lines widths={["w-1/2 ml-auto", "w-full", "w-5/6", "w-2/3"]} />
      </div>
    );
  if (loaded.error && messages.length === 0)
    return <Failed words={wordsFor(loaded.error)} onRetry={() => void loaded.refetch()} />;
  if (messages.length + sending.pending.length === 0)
    return (
      <Empty level={2} title="Nothing said yet">
        Write the first message below.
      </Empty>
    );
  return (
    <MessageList
      chatId={chat.id}
      targetId={targetId}
      messages={messages}
      meId={meId}
      isOwn={isOwn}
      canWrite={canWrite}
      pending={sending.pending}
      hasOlder={loaded.hasNextPage}
      isLoadingOlder={loaded.isFetchingNextPage}
      loadOlder={loadOlder}
      actions={actions}
      editingId={editingId}
      onEdit={setEditingId}
      waitingWords={slots.waitingLabel}
      isChannel={chat.kind === "channel"}
      channel={channel}
    />
  );
}

/** Return one line for screen readers. Tokens are not announced. */
export function Status({ needsApproval }: { needsApproval: boolean }) {
  const { messages, writing } = useChat();
  return (
    <p role="status" className="sr-only">
      {statusLabel(messages.at(-1), writing, needsApproval)}
    </p>
  );
}

export function statusLabel(
  last: Pick<Message, "role" | "status"> | undefined,
  writing: object | undefined,
  needsApproval: boolean,
): string {
  if (needsApproval) return "A tool needs your approval.";
  if (writing) return "Answering.";
  switch (last?.status) {
    case "interrupted":
      return "The reply was interrupted.";
    case "error":
      return "The reply failed.";
    default:
      return last?.role === "assistant" ? "The reply is finished." : "";
  }
}
