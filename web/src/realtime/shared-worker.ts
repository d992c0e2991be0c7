import { Hub } from "./hub";
import type { Ask, Tell } from "./protocol";

/** One worker per browser. Pages come and go, the connection stays. */
const pages = new Map<MessagePort, Set<string>>();

const hub = new Hub((message: Tell) => {
  for (const page of pages.keys()) page.postMessage(message);
});

function unfollow(page: MessagePort, runId: string): void {
  pages.get(page)?.delete(runId);
  if (![...pages.values()].some((runs) => runs.has(runId))) hub.unfollow(runId);
}

(globalThis as unknown as { onconnect: (event: MessageEvent) => void }).onconnect = (connection) => {
  const page = connection.ports[0];
  if (!page) return;
  pages.set(page, new Set());
  page.onmessage = ({ data }: MessageEvent<Ask>) => {
    switch (data.ask) {
      case "follow":
        pages.get(page)?.add(data.run_id);
        return hub.follow(data.run_id);
      case "unfollow":
        return unfollow(page, data.run_id);
      case "restart":
        return hub.restart();
      case "leave":
        for (const runId of pages.get(page) ?? []) unfollow(page, runId);
        pages.delete(page);
    }
  };
  page.postMessage(hub.state);
  if (pages.size === 1) hub.restart();
};
