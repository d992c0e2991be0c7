import type { Query, QueryClient } from "@tanstack/react-query";
import type { ChangeEvent } from "./protocol";

const ID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;

/**
 * Repeat a request if a change arrived while it was running, because its answer may be older than the change.
 *
 * Invalidation alone does not do that: a pending first answer is used as it is, and an answer that arrives after a change
 * was applied replaces it. Call the returned function with each change, or without one if anything may have changed.
 */
export function refetchOvertaken(client: QueryClient): (change?: ChangeEvent) => void {
  const cache = client.getQueryCache();
  const overtaken = new Set<Query>();
  cache.subscribe((event) => {
    if (!overtaken.has(event.query)) return;
    if (event.type === "removed") overtaken.delete(event.query);
    if (event.type !== "updated") return;
    const { action } = event;
    if (action.type === "fetch" || action.type === "error") overtaken.delete(event.query);
    if (action.type !== "success" || action.manual) return;
    overtaken.delete(event.query);
    void client.invalidateQueries({ queryKey: event.query.queryKey, exact: true });
  });
  return (change) => {
    for (const query of cache.findAll({ fetchStatus: "fetching" }))
      if (!change || isAbout(query.queryKey, change)) overtaken.add(query);
  };
}

/** A list may contain any entity. A query with an id is affected by a change with that id, or by a change without ids. */
function isAbout(queryKey: readonly unknown[], change: ChangeEvent): boolean {
  const named = JSON.stringify(queryKey).match(ID);
  if (!named || !change.payload) return true;
  const text = JSON.stringify(change);
  return named.some((id) => text.includes(id));
}
