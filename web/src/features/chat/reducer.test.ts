import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { RunEvent } from "@/realtime/protocol";
import { applyRunEvent, nothingYet } from "./reducer";

const streams = "../tests/streams";

describe("a reply that is being written", () => {
  for (const name of readdirSync(streams)) {
    it(`replays ${name} to what the server stored`, () => {
      const events = readFileSync(`${streams}/${name}`, "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as RunEvent);
      const reply = events.reduce(applyRunEvent, nothingYet);
      expect(reply.parts.map((part) => part.text)).toEqual(
        reply.message?.parts.map((part) =>
          part.type === "text" || part.type === "reasoning" ? part.text : "",
        ),
      );
      expect(reply.state).toBe(events.at(-1)?.type === "run.failed" ? "failed" : "finished");
    });
  }

  it("begins anew when it is told the whole again", () => {
    const delta = { type: "text.delta", message_id: "m", part_index: 0, text: "once" } as const;
    const started = { type: "run.started", run_id: "r", chat_id: "c", message_id: "m" } as const;
    const reply = [started, delta, started, delta].reduce(applyRunEvent, nothingYet);
    expect(reply.parts).toEqual([{ type: "text", text: "once" }]);
  });
});
