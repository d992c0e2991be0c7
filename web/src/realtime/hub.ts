import type { Connection, RunEvent, Tell } from "./protocol";
import { readStream } from "./stream";

const MAX_RUNS = 3;
const PAUSES_MS = [200, 500, 1000, 2000, 5000, 10_000];

/** Holds the connections of a browser: one event stream, and the streams of at most three visible runs. */
export class Hub {
  #runs = new Map<string, AbortController>();
  #events: AbortController | undefined;
  #lastId: string | undefined;
  #state: Connection = "connecting";

  constructor(private readonly tell: (message: Tell) => void) {}

  get state(): Tell {
    return { tell: "connection", state: this.#state };
  }

  /** Reconnect, for example after a sign-in. Earlier state is dropped. */
  restart(): void {
    this.#events?.abort();
    for (const run of this.#runs.values()) run.abort();
    this.#runs.clear();
    this.#lastId = undefined;
    this.#events = new AbortController();
    void this.#listen(this.#events.signal);
  }

  /** Follow a run from its beginning, also if it is already followed, because a new page needs all of it. */
  follow(runId: string): void {
    this.#runs.get(runId)?.abort();
    this.#runs.delete(runId);
    const oldest = this.#runs.keys().next().value;
    if (this.#runs.size >= MAX_RUNS && oldest !== undefined) {
      this.unfollow(oldest);
      this.tell({ tell: "run-lost", run_id: oldest });
    }
    const stop = new AbortController();
    this.#runs.set(runId, stop);
    void this.#follow(runId, stop.signal);
  }

  unfollow(runId: string): void {
    this.#runs.get(runId)?.abort();
    this.#runs.delete(runId);
  }

  #say(state: Connection): void {
    if (state === this.#state) return;
    this.#state = state;
    this.tell(this.state);
  }

  async #listen(signal: AbortSignal): Promise<void> {
    let losses = 0;
    while (!signal.aborted) {
      const isFromNow = this.#lastId === undefined;
      const end = await readStream(
        "/api/v1/events",
        this.#lastId,
        (event) => {
          losses = 0;
          if (event.id) this.#lastId = event.id;
          if (event.event === "ready") {
            this.#say("online");
            // Data that a page loaded earlier may have changed without an event.
            if (isFromNow) this.tell({ tell: "reload" });
          } else if (event.event === "reload") this.tell({ tell: "reload" });
          else if (event.event === "presence")
            this.tell({ tell: "presence", presence: JSON.parse(event.data) });
          else if (event.event === "change") this.tell({ tell: "change", change: JSON.parse(event.data) });
        },
        signal,
      );
      if (signal.aborted) return;
      if (end === "refused") {
        this.#say("signed-out");
        return;
      }
      if (losses > 0) this.#say("offline");
      await pause(losses++, signal);
    }
  }

  async #follow(runId: string, signal: AbortSignal): Promise<void> {
    let losses = 0;
    let lastId: string | undefined;
    let over = false;
    while (!signal.aborted && !over) {
      const end = await readStream(
        `/api/v1/runs/${runId}/events`,
        lastId,
        ({ id, data }) => {
          losses = 0;
          if (id) lastId = id;
          const event = JSON.parse(data) as RunEvent;
          this.tell({ tell: "run", run_id: runId, event });
          over = event.type === "run.finished" || event.type === "run.failed";
        },
        signal,
      );
      if (end === "refused" || end === "gone") break;
      if (!over) await pause(losses++, signal);
    }
    if (!signal.aborted) this.#runs.delete(runId);
  }
}

function pause(losses: number, signal: AbortSignal): Promise<void> {
  const base = PAUSES_MS[Math.min(losses, PAUSES_MS.length - 1)] ?? 1000;
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      globalThis.removeEventListener("online", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    // A random delay, so that a restarted server is not hit by all clients at once.
    const timer = setTimeout(done, base * (0.8 + Math.random() * 0.4));
    globalThis.addEventListener("online", done);
    signal.addEventListener("abort", done);
  });
}
