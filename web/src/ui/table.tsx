import type { ReactNode } from "react";

type Column = { title: string; isNumber?: boolean };
type TableRow = { key: string; cells: ReactNode[] };

/** A table whose first column names the rows. It scrolls sideways where it does not fit. */
export function Table({ columns, rows }: { columns: Column[]; rows: TableRow[] }) {
  const look = (index: number) =>
    `py-2 pr-3 last:pr-0 ${columns[index]?.isNumber ? "whitespace-nowrap text-right" : "text-left"}`;
  return (
    <div className="overflow-x-auto">
      <table className="w-full border-collapse tabular-nums">
        <thead>
          <tr className="border-hairline border-b text-sm text-text-muted">
            {columns.map(({ title }, index) => (
              <th key={title} scope="col" className={`font-medium first-letter:uppercase ${look(index)}`}>
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ key, cells: [name, ...cells] }) => (
            <tr key={key} className="border-hairline border-b">
              <th scope="row" className={`max-w-64 break-words font-normal ${look(0)}`}>
                {name}
              </th>
              {cells.map((cell, index) => (
                <td key={columns[index + 1]?.title} className={look(index + 1)}>
                  {cell}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
