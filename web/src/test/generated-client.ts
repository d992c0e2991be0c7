/**
 * A TypeScript client of the generated types, used against a server: `node generated-client.mjs URL TOKEN`.
 * tests/contracts/test_clients.py bundles and runs it. `tsc` checks its types with the others.
 */
import createClient from "openapi-fetch";
import type { components, paths } from "../api/generated/schema";

type Chat = components["schemas"]["ChatRead"];

function check(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Error(what);
}

async function main(url: string, token: string): Promise<void> {
  const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });

  const created = await client.POST("/api/v1/chats", { body: { title: "From TypeScript" } });
  check(created.data, "the chat was not created");
  const chat: Chat = created.data;
  check(chat.title === "From TypeScript", `the title is ${chat.title}`);

  const sent = await client.POST("/api/v1/chats/{chat_id}/messages", {
    params: { path: { chat_id: chat.id } },
    body: { content: "Hello", reply: false },
  });
  check(sent.data?.message.content === "Hello", "the message was not sent");

  const titles: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await client.GET("/api/v1/chats", { params: { query: { limit: 1, cursor } } });
    check(page.data, "the chats were not listed");
    titles.push(...page.data.items.map((item) => item.title));
    cursor = page.data.next_cursor ?? undefined;
  } while (cursor);
  check(titles.join() === "From TypeScript,First", `the titles are ${titles}`);

  const missing = await client.GET("/api/v1/chats/{chat_id}", {
    params: { path: { chat_id: crypto.randomUUID() } },
  });
  check(missing.error?.code === "chat_not_found", "a missing chat has another problem");

  const refused = await client.POST("/api/v1/chats", { body: { title: "x".repeat(201) } });
  check(refused.error?.status === 422, "a title that is too long was accepted");
  console.log("used");
}

const [url = "", token = ""] = process.argv.slice(2);
await main(url, token);
