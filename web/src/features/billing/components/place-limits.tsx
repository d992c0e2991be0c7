import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Button } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { useToast } from "@/ui/toast";
import { refreshLimits } from "../events";
import { limitsQuery, type Place } from "../queries";
import { LimitBars } from "./limit-bars";
import { QuotaForm } from "./quota-form";

/** The limits of the user's own chat or project, and a button to set another. They are changed under Settings, Limits. */
export function PlaceLimits({ place }: { place: Place }) {
  const { data } = useQuery(limitsQuery(place));
  const limits =
    data?.filter((limit) => limit.subject_kind === place.kind && limit.subject_id === place.id) ?? [];
  return (
    <section aria-label={`Limits of this ${place.kind}`} className="flex flex-col items-start gap-3 pb-4">
      {limits.length > 0 && (
        <div className="w-full">
          <LimitBars limits={limits} />
        </div>
      )}
      <LimitPlace place={place} />
    </section>
  );
}

/** A button to limit a chat or a project: the user's own or, by its name, another that an administrator chooses. */
export function LimitPlace({ place, name }: { place: Place; name?: string }) {
  const words = `Limit ${name ?? `this ${place.kind}`}`;
  const client = useQueryClient();
  const { say } = useToast();
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <Button onClick={() => setOpen(true)}>
        {name ? "Set limit" : words}
        {name && <span className="sr-only"> for {name}</span>}
      </Button>
      <Dialog title={words} isOpen={isOpen} onClose={() => setOpen(false)}>
        {isOpen && (
          <QuotaForm
            isOwn
            subjects={[{ ...place, label: words }]}
            onDone={() => {
              setOpen(false);
              say("The limit is set.");
              refreshLimits(client);
            }}
          />
        )}
      </Dialog>
    </>
  );
}
