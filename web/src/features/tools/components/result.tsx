import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { wordsFor } from "@/api/words";
import { wholeNumber } from "@/lib/dates";
import { Button } from "@/ui/button";
import { Problem } from "@/ui/problem";
import { callQuery, type ToolCall } from "../queries";
import { PlainText } from "./values";

type Result = NonNullable<ToolCall["result"]>;

/** The result of a tool by its kind. A long result is fetched completely on request. */
export function ResultView({ call, result }: { call: ToolCall; result: Result }) {
  const [isWhole, setWhole] = useState(false);
  const whole = useQuery({ ...callQuery(call.id), enabled: isWhole });
  const shown = whole.data?.result ?? result;
  return (
    <div className="flex flex-col gap-2">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls is to be reached with the keyboard */}
      <div className="max-h-80 overflow-auto rounded-control bg-surface-quiet p-3 text-sm" tabIndex={0}>
        <Content result={shown} />
      </div>
      {shown.is_cut && (
        <p className="text-sm text-text-muted">
          Only the beginning was kept: it had {wholeNumber(shown.size_bytes)} bytes.
        </p>
      )}
      {whole.error ? (
        <Problem words={wordsFor(whole.error)} />
      ) : (
        result.content === null &&
        !whole.data && (
          <Button look="plain" className="self-start text-sm" onClick={() => setWhole(true)}>
            {whole.isFetching ? "Loading …" : `Show all ${wholeNumber(result.size_bytes)} bytes`}
          </Button>
        )
      )}
    </div>
  );
}

function Content({ result }: { result: Result }) {
  if (result.content === null) return <PlainText text={`${result.excerpt} …`} />;
  if (result.kind === "image" && typeof result.content === "string" && isPicture(result.content))
    return <Picture address={result.content} />;
  if (result.kind === "mixed" && Array.isArray(result.content)) return <Mixed parts={result.content} />;
  if (result.kind === "table" && isTable(result.content)) return <Table table={result.content} />;
  if (result.kind === "json")
    return (
      <span className="font-mono">
        <PlainText text={JSON.stringify(result.content, null, 2)} />
      </span>
    );
  if (result.kind === "image") return "A picture that cannot be shown.";
  return <PlainText text={cell(result.content)} />;
}

function Picture({ address }: { address: string }) {
  return <img src={address} alt="What the tool gave" className="max-w-full" />;
}

/** Text and images in the order of the result. */
function Mixed({ parts }: { parts: { kind?: unknown; content?: unknown }[] }) {
  return (
    <div className="flex flex-col gap-3">
      {parts.map((part, index) => {
        const content = cell(part.content);
        return part.kind === "image" && isPicture(content) ? (
          // biome-ignore lint/suspicious/noArrayIndexKey: a part is known by its place
          <Picture key={index} address={content} />
        ) : (
          // biome-ignore lint/suspicious/noArrayIndexKey: a part is known by its place
          <PlainText key={index} text={content} />
        );
      })}
    </div>
  );
}

type TableContent = { columns: unknown[]; rows: unknown[][] };

function isTable(content: unknown): content is TableContent {
  const table = content as Partial<TableContent> | null;
  return Array.isArray(table?.columns) && Array.isArray(table.rows) && table.rows.every(Array.isArray);
}

/** Images are part of the result. None is fetched from elsewhere. */
function isPicture(content: string): boolean {
  return /^data:image\/(png|jpeg|gif|webp|avif);base64,/.test(content);
}

function Table({ table }: { table: TableContent }) {
  return (
    <table className="w-full border-collapse text-left">
      <thead>
        <tr>
          {table.columns.map((column, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: a column is known by its place
            <th key={index} className="border-hairline border-b py-1 pr-3 font-semibold">
              <PlainText text={cell(column)} />
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {table.rows.map((row, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a row is known by its place
          <tr key={index} className="align-top">
            {row.map((value, at) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: a cell is known by its place
              <td key={at} className="border-hairline border-b py-1 pr-3">
                <PlainText text={cell(value)} />
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function cell(value: unknown): string {
  if (value === null || value === undefined) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}
