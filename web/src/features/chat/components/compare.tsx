import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { wordsFor } from "@/api/words";
import { Button } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Dialog } from "@/ui/dialog";
import { Failed, Lines } from "@/ui/states";
import { useLiveReply } from "../hooks/use-live-reply";
import { cancelRun, messageQuery } from "../queries";
import type { Message } from "../reducer";
import { MessageParts } from "./message-parts";

type Props = { message: Message; onShow: (messageId: string) => void; onClose: () => void };

/** Two versions of a message side by side, also while they are being written. */
export function Compare({ message, onShow, onClose }: Props) {
  const ids = message.sibling_ids;
  const at = ids.indexOf(message.id);
  const [left, setLeft] = useState(ids[at > 0 ? at - 1 : 0] ?? message.id);
  const [right, setRight] = useState(ids[at > 0 ? at : 1] ?? message.id);
  const show = (messageId: string) => {
    onShow(messageId);
    onClose();
  };
  return (
    <Dialog title="Compare versions" isOpen onClose={onClose} isWide>
      <div className="grid gap-4 md:grid-cols-2">
        <Version label="On the left" id={left} ids={ids} onChoose={setLeft} onShow={show} />
        <Version label="On the right" id={right} ids={ids} onChoose={setRight} onShow={show} />
      </div>
    </Dialog>
  );
}

type VersionProps = {
  label: string;
  id: string;
  ids: string[];
  onChoose: (id: string) => void;
  onShow: (id: string) => void;
};

function Version({ label, id, ids, onChoose, onShow }: VersionProps) {
  const { data, error, refetch } = useQuery(messageQuery(id));
  const isOpen = data?.status === "sending" || data?.status === "streaming";
  const live = useLiveReply(isOpen ? (data.run_id ?? undefined) : undefined);
  const parts = isOpen && live?.parts.length ? live.parts : data?.parts;
  return (
    <section
      aria-label={label}
      className="flex min-w-0 flex-col gap-2 rounded-card border border-hairline p-3"
    >
      <div className="flex flex-wrap items-center justify-between gap-2">
        <Choice
          label={label}
          value={id}
          options={ids.map((item, index) => ({
            value: item,
            label: `Version ${index + 1} of ${ids.length}`,
          }))}
          onChoose={onChoose}
        />
        <span className="truncate text-sm text-text-muted">{data?.model_name}</span>
      </div>
      <div className="min-h-24 flex-1">
        {error ? (
          <Failed words={wordsFor(error)} onRetry={() => void refetch()} />
        ) : !data ? (
          <Lines widths={["w-full", "w-5/6", "w-2/3"]} />
        ) : parts?.length ? (
          <MessageParts
            parts={parts}
            messageId={data.id}
            isMarkdown={data.role === "assistant"}
            isStreaming={isOpen}
          />
        ) : (
          <p className="text-text-muted">
            {isOpen ? "Waiting for the first word …" : (data.error?.message ?? "Nothing was written.")}
          </p>
        )}
      </div>
      <div className="flex gap-2">
        <Button className="flex-1" onClick={() => onShow(id)}>
          Go on with this one
        </Button>
        {isOpen && data.run_id && (
          <Button onClick={() => void cancelRun(data.run_id ?? "").catch(() => refetch())}>Stop</Button>
        )}
      </div>
    </section>
  );
}
