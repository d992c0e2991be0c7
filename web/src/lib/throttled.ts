/** Return a function that does the work at once, and while it is called often at most once in each `ms`, also a last time. */
export function throttled(ms: number, work: () => void): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isWanted = false;
  const next = () => {
    timer = undefined;
    if (isWanted) start();
  };
  const start = () => {
    isWanted = false;
    work();
    timer = setTimeout(next, ms);
  };
  return () => {
    if (timer === undefined) start();
    else isWanted = true;
  };
}
