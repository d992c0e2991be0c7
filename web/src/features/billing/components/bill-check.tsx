import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { wordsFor } from "@/api/words";
import { shortDay, wholeNumber } from "@/lib/dates";
import { dollars } from "@/lib/money";
import { Button } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Problem } from "@/ui/problem";
import { Section } from "@/ui/section";
import { Table } from "@/ui/table";
import { enterDifferences, type Reconciliation, reconcile, vendorsQuery } from "../queries";

const MOST_BYTES = 3_000_000;
const SHOWN = 200;
const REASONS: Record<string, string> = {
  not_billed: "Not in the bill: another key or another time",
  other_keys: "Used elsewhere with the same account",
  rounding: "Rounding",
  unknown_price: "The ledger has no price for some requests",
  cache: "Tokens from a cache are priced differently",
  estimated: "The ledger has estimates of replies that were cut off",
  price: "Another price",
};

/** Compare an export of a provider with the ledger, and enter the differences. */
export function BillCheck({ isAdmin }: { isAdmin: boolean }) {
  const client = useQueryClient();
  const vendors = useQuery(vendorsQuery);
  const picker = useRef<HTMLInputElement>(null);
  const [provider, setProvider] = useState("openai");
  const [of, setOf] = useState<"me" | "everyone">("me");
  const comparing = useMutation({
    mutationFn: async (file: File) => {
      if (file.size > MOST_BYTES) throw new Error("The file has more than 3 MB. Choose a shorter period.");
      return reconcile({ provider, of, content: await file.text() });
    },
  });
  const entering = useMutation({
    mutationFn: enterDifferences,
    onSuccess: () => client.invalidateQueries({ queryKey: ["usage"] }),
  });
  const result = entering.data ?? comparing.data;
  const error = entering.error ?? comparing.error;
  return (
    <Section
      title="Compare with a bill"
      hint="Download the usage or the costs by day and model from your provider, as CSV or JSON, and choose the file here."
    >
      <div className="flex flex-wrap items-end gap-3">
        <Choice
          label="Provider"
          value={provider}
          options={(vendors.data ?? []).map(({ id, display_name }) => ({ value: id, label: display_name }))}
          onChoose={setProvider}
        />
        {isAdmin && (
          <Choice
            label="Compared with"
            value={of}
            options={[
              { value: "me", label: "My usage" },
              { value: "everyone", label: "Usage of everybody" },
            ]}
            onChoose={(chosen) => setOf(chosen as typeof of)}
          />
        )}
        <input
          ref={picker}
          type="file"
          accept=".csv,.json,text/csv,application/json"
          hidden
          aria-hidden
          data-testid="bill-picker"
          onChange={(event) => {
            const file = event.target.files?.[0];
            event.target.value = "";
            entering.reset();
            if (file) comparing.mutate(file);
          }}
        />
        <Button disabled={comparing.isPending} onClick={() => picker.current?.click()}>
          {comparing.isPending ? "Comparing…" : "Choose the bill"}
        </Button>
      </div>
      <Problem words={error && error.constructor === Error ? error.message : wordsFor(error)} />
      {result && (
        <Comparison result={result} onEnter={() => entering.mutate(result.id)} isBusy={entering.isPending} />
      )}
    </Section>
  );
}

type ComparisonProps = { result: Reconciliation; onEnter: () => void; isBusy: boolean };

function Comparison({ result, onEnter, isBusy }: ComparisonProps) {
  const differing = result.items.filter((line) => Number(line.difference) !== 0);
  const isBillable = differing.some((line) => line.their_cost !== null && line.their_cost !== undefined);
  return (
    <div className="flex flex-col gap-4">
      <p role="status">
        The bill says <strong>{dollars(result.their_cost)}</strong>, the ledger{" "}
        <strong>{dollars(result.our_cost)}</strong>.{" "}
        {differing.length === 0
          ? "Each day and model agrees."
          : `${wholeNumber(differing.length)} of ${wholeNumber(result.items.length)} days and models differ.`}
      </p>
      {differing.length > 0 && (
        <Table
          columns={[
            { title: "day" },
            { title: "model" },
            { title: "bill", isNumber: true },
            { title: "ledger", isNumber: true },
            { title: "reason" },
          ]}
          rows={differing.slice(0, SHOWN).map((line) => ({
            key: `${line.day} ${line.model_name}`,
            cells: [
              shortDay(line.day),
              line.model_name,
              line.their_cost ? dollars(line.their_cost) : "none",
              dollars(line.our_cost),
              REASONS[line.reason] ?? line.reason,
            ],
          }))}
        />
      )}
      {differing.length > SHOWN && (
        <p className="text-sm text-text-muted">{wholeNumber(differing.length - SHOWN)} more differ.</p>
      )}
      {result.corrected_at ? (
        <p className="text-text-muted">The differences are entered in the ledger.</p>
      ) : (
        result.of === "me" &&
        isBillable && (
          <Button className="self-start" disabled={isBusy} onClick={onEnter}>
            Enter the differences
          </Button>
        )
      )}
    </div>
  );
}
