type ProblemProps = { words?: string | false | null | undefined; isBoxed?: boolean; className?: string };

/** What went wrong, in red and read aloud at once. Nothing without words. */
export function Problem({ words, isBoxed = false, className = "" }: ProblemProps) {
  if (!words) return null;
  const box = isBoxed ? "rounded-card bg-danger-quiet px-3 py-2" : "";
  return (
    <p role="alert" className={`break-words text-danger ${box} ${className}`}>
      {words}
    </p>
  );
}
