import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Button } from "@/ui/button";
import { Dialog } from "@/ui/dialog";
import { refreshLimits } from "../events";
import { limitsQuery, type Place } from "../queries";
import { LimitBars } from "./limit-bars";
import { QuotaForm } from "./quota-form";

/** The limits of the user's own chat or project, and a button to set another. They are changed under Settings, Limits. */
export function PlaceLimits({ place }: { place: Place }) {
  const client = useQueryClient();
  const { data } = useQuery(limitsQuery(place));
  const [isOpen, setOpen] = useState(false);
  const limits =
    data?.filter((limit) => limit.subject_kind === place.kind && limit.subject_id === place.id) ?? [];
  const words = `Limit this ${place.kind}`;
  return (
    <section aria-label={`Limits of this ${place.kind}`} className="flex flex-col items-start gap-3 pb-4">
      {limits.length > 0 && (
        <div className="w-full">
          <LimitBars limits={limits} />
        </div>
      )}
      <Button onClick={() => setOpen(true)}>{words}</Button>
      <Dialog title={words} isOpen={isOpen} onClose={() => setOpen(false)}>
        {isOpen && (
          <QuotaForm
            isOwn
            subjects={[{ ...place, label: words }]}
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
