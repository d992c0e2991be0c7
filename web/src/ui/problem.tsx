/** What went wrong, in red and read aloud at once. Nothing without words. */
export function Problem({ words }: { words?: string | false | null | undefined }) {
  if (!words) return null;
  return (
    <p role="alert" className="break-words text-danger">
      {words}
    </p>
  );
}
