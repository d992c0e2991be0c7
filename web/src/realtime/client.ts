import { workerUrl } from "@/lib/trusted";
import { connectByLeader } from "./leader";
import type { Ask, Connection, RunEvent, Tell } from "./protocol";
import sharedWorkerUrl from "./shared-worker.ts?sharedworker&url";

/** The page's side of the shared connection. Passes events to listeners. */
export class Realtime {
  #ask: (ask: Ask) => void;
  #listeners = new Set<(message: Tell) => void>();
  #runs = new Map<string, Set<(event: RunEvent) => void>>();
  connection: Connection = "connecting";

  constructor() {
    this.#ask =
      "SharedWorker" in globalThis ? this.#connectByWorker() : connectByLeader((m) => this.#hear(m));
  }

  listen(listener: (message: Tell) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Follow all events of a run from its beginning. */
  follow(runId: string, listener: (event: RunEvent) => void): () => void {
    const listeners = this.#runs.get(runId) ?? new Set();
    listeners.add(listener);
    this.#runs.set(runId, listeners);
    this.#ask({ ask: "follow", run_id: runId });
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#runs.get(runId) === listeners) {
        this.#runs.delete(runId);
        this.#ask({ ask: "unfollow", run_id: runId });
      }
    };
  }

  restart(): void {
    this.#ask({ ask: "restart" });
  }

  #hear(message: Tell): void {
    if (message.tell === "connection") this.connection = message.state;
    if (message.tell === "run") for (const hear of this.#runs.get(message.run_id) ?? []) hear(message.event);
    for (const hear of this.#listeners) hear(message);
  }

  #connectByWorker(): (ask: Ask) => void {
    const worker = new SharedWorker(workerUrl(sharedWorkerUrl), { type: "module", name: "tertulia" });
    worker.port.onmessage = ({ data }: MessageEvent<Tell>) => this.#hear(data);
    worker.port.start();
    window.addEventListener("pagehide", () => worker.port.postMessage({ ask: "leave" } satisfies Ask));
    window.addEventListener("pageshow", (event) => {
      if (event.persisted) location.reload(); // restored from the back/forward cache: the worker has forgotten this page
    });
    return (ask) => worker.port.postMessage(ask);
  }
}
