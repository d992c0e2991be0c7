import type { ReactNode } from "react";

import { Button } from "./button";

/** An error with a retry button. */
export function Failed({ words, onRetry }: { words: string; onRetry: () => void }) {
  return (
    <div role="alert" className="m-auto flex max-w-sm flex-col items-center gap-3 p-6 text-center">
      <p>{words}</p>
      <Button onClick={onRetry}>Try again</Button>
    </div>
  );
}

export function Empty({
  title,
  children,
  level = 1,
}: {
  title: string;
  children?: ReactNode;
  level?: 1 | 2;
}) {
  const Heading = `h${level}` as const;
  return (
    <div className="m-auto flex max-w-md flex-col items-center gap-2 p-6 text-center">
      <Heading className="font-semibold text-lg">{title}</Heading>
      <div className="text-text-muted">{children}</div>
    </div>
  );
}

/** A placeholder in the shape of the content. */
export function Lines({ widths }: { widths: string[] }) {
  return (
    <div aria-hidden className="flex flex-col gap-3">
      {widths.map((width, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the lines have no identity and never move
        <div key={index} className={`shimmer h-3 rounded-control bg-surface-hover ${width}`} />
      ))}
    </div>
  );
}
