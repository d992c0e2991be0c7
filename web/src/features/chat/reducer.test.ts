import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { RunEvent } from "@/realtime/protocol";
import { applyRunEvent, type LivePart, type Message, nothingYet } from "./reducer";

const streams = "../tests/streams";

/** Return the text of a part, or the id of its tool call. */
function words(part: Message["parts"][number] | LivePart): string {
  if (part.type === "tool_call") return part.tool_execution_id;
  return part.type === "text" || part.type === "reasoning" ? part.text : "";
}

describe("a reply that is being written", () => {
  for (const name of readdirSync(streams)) {
    it(`replays ${name} to what the server stored`, () => {
      const events = readFileSync(`${streams}/${name}`, "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as RunEvent);
      const reply = events.reduce(applyRunEvent, nothingYet);
      expect(reply.parts.map(words)).toEqual(reply.message?.parts.map(words));
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
