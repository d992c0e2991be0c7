import { type SseEvent, SseParser } from "@/lib/sse";

export type StreamEnd = "ended" | "lost" | "refused" | "gone";

/** Read one stream until it ends, and return how it ended. After 40 s of silence the connection is dead. */
export async function readStream(
  path: string,
  lastEventId: string | undefined,
  onEvent: (event: SseEvent) => void,
  signal: AbortSignal,
): Promise<StreamEnd> {
  const silent = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silent.abort(), 40_000);
  };
  try {
    heard();
    const response = await fetch(path, {
      headers: lastEventId ? { "Last-Event-ID": lastEventId } : {},
      signal: AbortSignal.any([signal, silent.signal]),
    });
    if (response.status === 401) return "refused";
    if (response.status === 404) return "gone";
    if (!response.ok || !response.body) return "lost";
    const parser = new SseParser();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return "ended";
      heard();
      for (const event of parser.push(value)) onEvent(event);
    }
  } catch {
    return "lost";
  } finally {
    clearTimeout(timer);
  }
}
