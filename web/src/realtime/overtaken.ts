import type { Query, QueryClient } from "@tanstack/react-query";
import type { ChangeEvent } from "./protocol";

const ID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;

/**
 * An answer that was on its way when a change arrived may be from before it: it is asked for once more.
 *
 * Invalidating alone does not do that: a first answer that is awaited is taken as it comes, and one that comes after a change was
 * put in place takes its place. Give what is returned each change, or nothing where anything may have changed.
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

/** Lists are about everything; what names something is about a change that names it too, or that does not say what it is about. */
function isAbout(queryKey: readonly unknown[], change: ChangeEvent): boolean {
  const named = JSON.stringify(queryKey).match(ID);
  if (!named || !change.payload) return true;
  const told = JSON.stringify(change);
  return named.some((id) => told.includes(id));
}
