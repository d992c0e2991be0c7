import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Button } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { refreshLimits } from "../events";
import { limitsQuery } from "../queries";
import { LimitBars } from "./limit-bars";
import { QuotaForm } from "./quota-form";

/** The limits of the user's own chat, and a button to set another. They are changed under Settings, Limits. */
export function ChatLimits({ chatId }: { chatId: string }) {
  const client = useQueryClient();
  const { data } = useQuery(limitsQuery(chatId));
  const [isOpen, setOpen] = useState(false);
  const limits = data?.filter((limit) => limit.subject_kind === "chat" && limit.subject_id === chatId) ?? [];
  return (
    <section aria-label="Limits of this chat" className="flex flex-col items-start gap-3 pb-4">
      {limits.length > 0 && (
        <div className="w-full">
          <LimitBars limits={limits} />
        </div>
      )}
      <Button onClick={() => setOpen(true)}>Limit this chat</Button>
      <Dialog title="Limit this chat" isOpen={isOpen} onClose={() => setOpen(false)}>
        {isOpen && (
          <QuotaForm
            isOwn
            subjects={[{ kind: "chat", id: chatId, label: "This chat" }]}
            onDone={() => {
              setOpen(false);
              refreshLimits(client);
            }}
          />
        )}
      </Dialog>
    </section>
  );
}
