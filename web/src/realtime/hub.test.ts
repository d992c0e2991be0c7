import { afterEach, describe, expect, it, vi } from "vitest";
import { Hub } from "./hub";
import type { Tell } from "./protocol";

afterEach(() => vi.unstubAllGlobals());

/** A server whose event streams say what they are given, one after the other; the last stays open. */
function serve(streams: string[]): (string | null)[] {
  const requests: (string | null)[] = [];
  vi.stubGlobal("fetch", async (_: string, { headers }: { headers: Record<string, string> }) => {
    requests.push(headers["Last-Event-ID"] ?? null);
    const text = streams[requests.length - 1];
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode(text));
        if (requests.length < streams.length) controller.close();
      },
    });
    return new Response(body);
  });
  return requests;
}

const READY = (id: string) => `id: ${id}\nevent: ready\ndata: {}\n\n`;

describe("the one connection", () => {
  it("has pages load again what they had before it began, and not after a loss that is caught up", async () => {
    const requests = serve([READY("0-1"), READY("0-2")]);
    const messages: Tell[] = [];
    const hub = new Hub((message) => messages.push(message));
    hub.restart();
    await vi.waitFor(() => expect(requests).toEqual([null, "0-1"]));
    await vi.waitFor(() =>
      expect(messages.filter((message) => message.tell === "connection").length).toBeGreaterThan(0),
    );
    expect(messages.filter((message) => message.tell === "reload")).toHaveLength(1);
  });
});
