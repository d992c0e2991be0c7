import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { wordsFor } from "@/api/words";
import { Button } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Dialog } from "@/ui/dialog";
import { Failed, Lines } from "@/ui/states";
import { useMedia } from "@/ui/use-media";
import { diffQuery, type Piece } from "../queries";

type Props = {
  draftId: string;
  number: number;
  against: number;
  newest: number;
  onClose: () => void;
};

/** Compare two versions by words, inline or next to each other. */
export function CompareVersions({ draftId, newest, onClose, ...initial }: Props) {
  const [number, setNumber] = useState(initial.number);
  const [against, setAgainst] = useState(initial.against);
  const isWide = useMedia("(min-width: 64rem)");
  const [isApart, setApart] = useState(isWide);
  const { data, error, refetch } = useQuery(diffQuery(draftId, number, against));
  // The newest hundred. Older ones are opened from the panel.
  const options = Array.from({ length: Math.min(newest, 100) }, (_, at) => newest - at)
    .concat([number, against].filter((version) => version <= newest - 100))
    .map((version) => ({ value: String(version), label: `Version ${version}` }));
  return (
    <Dialog title="Compare versions" isOpen onClose={onClose} isWide>
      <div className="flex flex-wrap items-center gap-2 pb-3">
        <Choice
          label="The older one"
          value={String(against)}
          options={options}
          onChoose={(value) => setAgainst(Number(value))}
        />
        <span aria-hidden>→</span>
        <Choice
          label="The newer one"
          value={String(number)}
          options={options}
          onChoose={(value) => setNumber(Number(value))}
        />
        <Button look="plain" aria-pressed={isApart} onClick={() => setApart(!isApart)}>
          {isApart ? "In one text" : "Side by side"}
        </Button>
      </div>
      {error ? (
        <Failed words={wordsFor(error)} onRetry={() => void refetch()} />
      ) : !data ? (
        <Lines widths={["w-full", "w-5/6", "w-2/3"]} />
      ) : data.pieces.every((piece) => piece.kind === "same") ? (
        <p className="text-text-muted">These two are the same.</p>
      ) : isApart ? (
        <div className="grid grid-cols-2 gap-6">
          <Text label={`Version ${against}`} pieces={data.pieces.filter((piece) => piece.kind !== "added")} />
          <Text
            label={`Version ${number}`}
            pieces={data.pieces.filter((piece) => piece.kind !== "removed")}
          />
        </div>
      ) : (
        <Text label="Both in one text" pieces={data.pieces} />
      )}
    </Dialog>
  );
}

function Text({ label, pieces }: { label: string; pieces: Piece[] }) {
  return (
    <section aria-label={label} className="min-w-0 font-serif text-md">
      <p className="whitespace-pre-wrap break-words">
        {pieces.map((piece, index) =>
          piece.kind === "same" ? (
            piece.text
          ) : piece.kind === "added" ? (
            // biome-ignore lint/suspicious/noArrayIndexKey: the pieces have no identity and never move
            <ins key={index} className="rounded-xs bg-accent-quiet text-success no-underline">
              {visible(piece.text)}
            </ins>
          ) : (
            // biome-ignore lint/suspicious/noArrayIndexKey: the pieces have no identity and never move
            <del key={index} className="bg-danger-quiet text-danger">
              {visible(piece.text)}
            </del>
          ),
        )}
      </p>
    </section>
  );
}

/** Make an added or removed line break visible. */
function visible(text: string): string {
  return /^\n+$/.test(text) ? text.replaceAll("\n", "¶\n") : text;
}
