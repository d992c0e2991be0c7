import { useQuery } from "@tanstack/react-query";
import { runQuery } from "../queries";
import type { Message } from "../reducer";

/** What an empty reply is waiting for: its turn, its model, or the first token. */
export function WaitingWords({ message, modelWords }: { message: Message; modelWords: string | undefined }) {
  const { data: run } = useQuery(runQuery(message.run_id));
  if (run?.status === "queued") return "Waits for its turn: your other replies are being written …";
  return modelWords ?? "Waiting for the first words …";
}
