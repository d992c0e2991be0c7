import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { describe, expect, it } from "vitest";
import type { Schemas } from "@/api/client";
import { refetchOvertaken } from "./overtaken";
import type { ChangeEvent } from "./protocol";

const CHAT = "01999999-0000-7000-8000-000000000001";
const OTHER = "01999999-0000-7000-8000-000000000002";

function change(chatId: string): ChangeEvent {
  return {
    topic: `chat:${chatId}`,
    entity: "context_optimization",
    entity_id: "01999999-0000-7000-8000-000000000003",
    operation: "created",
    payload: { note: "" } as Schemas["ContextOptimizationRead"],
  };
}

/** A query on show whose answers come when they are given. */
function shown(client: QueryClient, queryKey: string[]) {
  const waiting: ((answer: string) => void)[] = [];
  let requests = 0;
  const observer = new QueryObserver(client, {
    queryKey,
    queryFn: () => {
      requests += 1;
      return new Promise<string>((answer) => waiting.push(answer));
    },
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
  });
  observer.subscribe(() => {});
  return {
    asked: () => requests,
    answer: async (words: string) => {
      waiting.shift()?.(words);
      await new Promise((done) => setTimeout(done, 0)); // answers are told in turns of their own
    },
    said: () => observer.getCurrentResult().data,
  };
}

describe("an answer that a change overtakes", () => {
  it("is asked for once more, also where it is the first", async () => {
    const client = new QueryClient();
    const overtake = refetchOvertaken(client);
    const query = shown(client, ["context-optimizations", CHAT]);
    overtake(change(CHAT));
    overtake(change(CHAT));
    await query.answer("from before");
    expect(query.asked()).toBe(2);
    await query.answer("from after");
    expect([query.said(), query.asked()]).toEqual(["from after", 2]);
  });

  it("does not stay in the place of what was put there meanwhile", async () => {
    const client = new QueryClient();
    const overtake = refetchOvertaken(client);
    const query = shown(client, ["chat", CHAT]);
    overtake(change(CHAT));
    client.setQueryData(["chat", CHAT], "told");
    await query.answer("from before");
    await query.answer("from after");
    expect([query.said(), query.asked()]).toEqual(["from after", 2]);
  });

  it("is not asked for again when another chat changed, and is when all may have", async () => {
    const client = new QueryClient();
    const overtake = refetchOvertaken(client);
    const query = shown(client, ["chat", CHAT]);
    overtake(change(OTHER));
    await query.answer("as it is");
    expect(query.asked()).toBe(1);
    void client.invalidateQueries();
    overtake();
    await query.answer("from before");
    expect(query.asked()).toBe(3);
  });

  it("is one where a list was on its way, whatever changed", async () => {
    const client = new QueryClient();
    const overtake = refetchOvertaken(client);
    const query = shown(client, ["pending-calls"]);
    overtake(change(OTHER));
    await query.answer("from before");
    expect(query.asked()).toBe(2);
  });
});
