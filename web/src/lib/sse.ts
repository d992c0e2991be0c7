export type SseEvent = { id: string | undefined; event: string; data: string };

/** Parses server-sent events from chunks of any size. */
export class SseParser {
  #rest = "";
  #id: string | undefined;
  #event = "message";
  #data: string[] = [];

  push(text: string): SseEvent[] {
    const events: SseEvent[] = [];
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const raw of lines) {
      const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
      if (line === "") {
        if (this.#data.length) events.push({ id: this.#id, event: this.#event, data: this.#data.join("\n") });
        this.#id = undefined;
        this.#event = "message";
        this.#data = [];
      } else if (!line.startsWith(":")) {
        const at = line.indexOf(":");
        const name = at < 0 ? line : line.slice(0, at);
        const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
        if (name === "id") this.#id = value;
        else if (name === "event") this.#event = value;
        else if (name === "data") this.#data.push(value);
      }
    }
    return events;
  }
}
