import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { wordsFor } from "@/api/words";
import { exactTime, relativeTime, wholeNumber } from "@/lib/dates";
import { dollars } from "@/lib/money";
import { Button } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Section } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
import { historyQuery, type ToolUsage, usageByToolQuery } from "../queries";
import { tookWords } from "../words";
import { CallCard } from "./tool-card";

type Props = {
  meId: string | undefined;
  chatId: string | undefined; // of one chat only
  chatLink: (chatId: string, title: string) => ReactNode;
  everywhere: ReactNode; // a link to the history of all chats
};

/** The user's tool calls in all chats or in one: sums by tool, and each call. */
export function ToolHistory({ meId, chatId, chatLink, everywhere }: Props) {
  const usage = useQuery(usageByToolQuery(chatId));
  const [key, setKey] = useState("");
  const history = useInfiniteQuery(historyQuery(key || undefined, chatId));
  const calls = history.data?.pages.flatMap((page) => page.items) ?? [];
  const error = usage.error ?? history.error;
  if (error)
    return (
      <Failed
        words={wordsFor(error)}
        onRetry={() => {
          void usage.refetch();
          void history.refetch();
        }}
      />
    );
  if (!usage.data || !history.data) return <Lines widths={["w-full", "w-2/3", "w-full"]} />;
  if (usage.data.length === 0)
    return (
      <p className="text-text-muted">
        {chatId
          ? "No model has called a tool for you in this chat."
          : "No model has called a tool for you yet."}{" "}
        {chatId && everywhere}
      </p>
    );
  const keys = usage.data.map((tool) => (tool.server ? `${tool.server}/${tool.tool_name}` : tool.tool_name));
  return (
    <div className="flex flex-col gap-10">
      <Section title={chatId ? "By tool, in this chat" : "By tool"} action={chatId ? everywhere : undefined}>
        <Sums usage={usage.data} />
      </Section>
      <Section
        title={chatId ? "Every call of this chat" : "Every call"}
        action={
          <Choice
            label="Show calls of"
            value={key}
            options={[
              { value: "", label: "All tools" },
              ...keys.map((item) => ({ value: item, label: item })),
            ]}
            onChoose={setKey}
          />
        }
      >
        <ul aria-label="Calls, the newest first" className="flex flex-col gap-2">
          {calls.map((call) => (
            <li key={call.id}>
              <CallCard
                call={call}
                meId={meId}
                chatLink={
                  <p className="text-sm text-text-muted">
                    <span title={exactTime(call.created_at)}>{relativeTime(call.created_at)}</span> in{" "}
                    {chatLink(call.chat_id, call.chat_title)}
                  </p>
                }
              />
            </li>
          ))}
        </ul>
        {history.hasNextPage && (
          <Button className="self-center" onClick={() => void history.fetchNextPage()}>
            {history.isFetchingNextPage ? "Loading …" : "Show older calls"}
          </Button>
        )}
      </Section>
    </div>
  );
}

function Sums({ usage }: { usage: ToolUsage[] }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls is to be reached with the keyboard
    <section className="overflow-x-auto" tabIndex={0} aria-label="Sums by tool">
      <table className="w-full min-w-xl border-collapse text-left tabular-nums">
        <thead className="text-sm text-text-muted">
          <tr>
            {["Tool", "Calls", "Done", "Failed", "Refused", "On average", "Longest", "Cost"].map((head) => (
              <th key={head} className="border-hairline border-b py-2 pr-4 font-medium">
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {usage.map((tool) => (
            <tr key={`${tool.server ?? ""}/${tool.tool_name}`}>
              <th scope="row" className="border-hairline border-b py-2 pr-4 font-medium">
                {tool.tool_name}
                {tool.server && <span className="text-sm text-text-muted"> from {tool.server}</span>}
              </th>
              {[
                wholeNumber(tool.calls),
                wholeNumber(tool.completed),
                wholeNumber(tool.failed),
                wholeNumber(tool.denied),
                tool.average_ms === null ? "–" : tookWords(tool.average_ms),
                tool.longest_ms === null ? "–" : tookWords(tool.longest_ms),
                dollars(tool.cost),
              ].map((value, index) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: a cell is known by its column
                <td key={index} className="border-hairline border-b py-2 pr-4">
                  {value}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
