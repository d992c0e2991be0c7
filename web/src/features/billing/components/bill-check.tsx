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
import { Tick } from "@/ui/tick";
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
  const [result, setResult] = useState<Reconciliation>();
  const comparing = useMutation({
    mutationFn: async (file: File) => {
      if (file.size > MOST_BYTES) throw new Error("The file has more than 3 MB. Choose a shorter period.");
      return reconcile({ provider, of, content: await file.text() });
    },
    onSuccess: setResult,
  });
  const entering = useMutation({
    mutationFn: (lines: Line[]) =>
      enterDifferences(result?.id ?? "", lines, (entered) =>
        setResult((known) => known && withLines(known, entered)),
      ),
    onSettled: () => client.invalidateQueries({ queryKey: ["usage"] }),
  });
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
            setResult(undefined);
            if (file) comparing.mutate(file);
          }}
        />
        <Button disabled={comparing.isPending} onClick={() => picker.current?.click()}>
          {comparing.isPending ? "Comparing…" : "Choose the bill"}
        </Button>
      </div>
      <Problem words={error && (error.constructor === Error ? error.message : wordsFor(error))} />
      {result && (
        <Comparison
          key={result.id}
          result={result}
          onEnter={(lines) => entering.mutate(lines)}
          isBusy={entering.isPending}
        />
      )}
    </Section>
  );
}

type Line = Reconciliation["items"][number];

/** Return a comparison with the lines that were entered as they are now. */
function withLines(result: Reconciliation, entered: Reconciliation): Reconciliation {
  const now = new Map(entered.items.map((line) => [keyOf(line), line]));
  const items = result.items.map((line) => now.get(keyOf(line)) ?? line);
  return { ...result, corrected_at: entered.corrected_at, items };
}

type ComparisonProps = { result: Reconciliation; onEnter: (lines: Line[]) => void; isBusy: boolean };
const keyOf = (line: Line) => `${line.day} ${line.model_name}`;

function Comparison({ result, onEnter, isBusy }: ComparisonProps) {
  const differing = result.items.filter((line) => Number(line.difference) !== 0);
  // What may be the same under another name is not entered unless it is chosen.
  const unclear = new Set(differing.filter((line) => line.reason === "not_billed").map((line) => line.day));
  const isMeant = (line: Line) => line.reason !== "other_keys" || !unclear.has(line.day);
  const open = differing.filter((line) => line.their_cost && !line.is_corrected);
  const [turned, setTurned] = useState(new Set<string>());
  const isChosen = (line: Line) => isMeant(line) !== turned.has(keyOf(line));
  const turn = (line: Line) => {
    const next = new Set(turned);
    if (!next.delete(keyOf(line))) next.add(keyOf(line));
    setTurned(next);
  };
  const chosen = open.filter(isChosen);
  return (
    <div className="flex flex-col gap-4">
      <p role="status">
        The bill says <strong>{dollars(result.their_cost)}</strong>, the ledger{" "}
        <strong>{dollars(result.our_cost)}</strong>.{" "}
        {differing.length === 0
          ? "Each day and model agrees."
          : `${wholeNumber(differing.length)} of ${wholeNumber(result.items.length)} days and models differ.`}
        {result.items.some((line) => line.is_cost_computed) &&
          " The file has no costs, so they are computed from its tokens."}
      </p>
      {differing.length > 0 && (
        <Table
          columns={[
            { title: "day" },
            { title: "model" },
            { title: "bill", isNumber: true },
            { title: "ledger", isNumber: true },
            { title: "reason" },
            { title: "enter" },
          ]}
          rows={differing.slice(0, SHOWN).map((line) => ({
            key: keyOf(line),
            cells: [
              shortDay(line.day),
              line.model_name,
              line.their_cost ? dollars(line.their_cost) : "none",
              dollars(line.our_cost),
              REASONS[line.reason] ?? line.reason,
              line.is_corrected
                ? "entered"
                : open.includes(line) && (
                    <Tick
                      label={`Enter ${line.model_name} of ${shortDay(line.day)}`}
                      isOn={isChosen(line)}
                      onChange={() => turn(line)}
                    />
                  ),
            ],
          }))}
        />
      )}
      {differing.length > SHOWN && (
        <p className="text-sm text-text-muted">
          {wholeNumber(differing.length - SHOWN)} more differ. They are entered with the others.
        </p>
      )}
      {open.length > 0 && result.of === "everyone" && (
        <p className="text-sm text-text-muted">
          They are entered as your usage, because the bill does not say whose they are.
        </p>
      )}
      {open.length > 0 && (
        <Button
          className="self-start"
          disabled={isBusy || chosen.length === 0}
          onClick={() => onEnter(chosen)}
        >
          {chosen.length === 1 ? "Enter 1 difference" : `Enter ${wholeNumber(chosen.length)} differences`}
        </Button>
      )}
      {result.corrected_at && open.length === 0 && (
        <p className="text-text-muted">The differences are entered in the ledger.</p>
      )}
    </div>
  );
}
