import type { Schemas } from "@/api/client";
import type { RunEvent } from "@/realtime/protocol";

export type Message = Schemas["MessageRead"];
export type ToolCallPart = Schemas["ToolCallPart"];
type WholePart = Extract<RunEvent, { type: "part.added" }>["part"];
export type LivePart = { type: "text" | "reasoning"; text: string } | ToolCallPart | WholePart;

/** A reply while it is being written. */
export type LiveReply = {
  messageId: string | undefined;
  parts: LivePart[];
  state: "waiting" | "writing" | "finished" | "failed";
  message: Message | undefined; // as stored, once finished
};

export const nothingYet: LiveReply = {
  messageId: undefined,
  parts: [],
  state: "waiting",
  message: undefined,
};

export function applyRunEvent(reply: LiveReply, event: RunEvent): LiveReply {
  switch (event.type) {
    case "run.started":
      return { ...nothingYet, messageId: event.message_id };
    case "message.reset":
      return { ...reply, parts: [], state: "waiting" };
    case "text.delta":
      return withText(reply, event.part_index, "text", event.text);
    case "reasoning.delta":
      return withText(reply, event.part_index, "reasoning", event.text);
    case "tool.requested":
    case "part.added":
      return withPart(reply, event.part_index, event.part);
    case "approval.requested":
    case "tool.finished":
      return reply; // changes of the tool call report this
    case "message.finished":
      return { ...reply, message: event.message };
    case "run.finished":
      return { ...reply, state: "finished" };
    case "run.failed":
      return { ...reply, state: "failed" };
    default:
      return assertNever(event); // a new event does not compile until it is handled
  }
}

function withText(reply: LiveReply, index: number, type: "text" | "reasoning", text: string): LiveReply {
  const known = reply.parts[index];
  const before = known?.type === type ? known.text : "";
  return withPart(reply, index, { type, text: before + text });
}

function withPart(reply: LiveReply, index: number, part: LivePart): LiveReply {
  const parts = reply.parts.slice();
  while (parts.length <= index) parts.push({ type: "text", text: "" });
  parts[index] = part;
  return { ...reply, parts, state: "writing" };
}

function assertNever(event: never): never {
  throw new Error(`an event without a handler: ${JSON.stringify(event)}`);
}
