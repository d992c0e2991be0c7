import { useQuery } from "@tanstack/react-query";
import { wordsFor } from "@/api/words";
import { wholeNumber } from "@/lib/dates";
import { dollars } from "@/lib/money";
import { Failed, Lines } from "@/ui/states";
import { projectUseQuery } from "../queries";

/** What everyone together used in a project this month, for its owner. */
export function ProjectUse({ projectId }: { projectId: string }) {
  const use = useQuery(projectUseQuery(projectId));
  if (use.isPending) return <Lines widths={["w-1/2"]} />;
  if (use.isError) return <Failed words={wordsFor(use.error)} onRetry={() => void use.refetch()} />;
  const { cost, requests, tokens } = use.data;
  return (
    <p className="tabular-nums">
      <strong>{dollars(cost)}</strong> this month
      <span className="text-text-muted">
        {" · "}
        {requests === 1 ? "1 request" : `${wholeNumber(requests)} requests`}
        {" · "}
        {wholeNumber(tokens)} tokens
      </span>
    </p>
  );
}
