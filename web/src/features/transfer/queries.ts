import { queryOptions } from "@tanstack/react-query";
import { api, type Schemas } from "@/api/client";

export type ImportJob = Schemas["ImportJobRead"];
export const MAX_IMPORT_BYTES = 2 * 1024 * 1024 * 1024;

export const importsQuery = queryOptions({
  queryKey: ["imports"],
  queryFn: async ({ signal }) => (await api<{ items: ImportJob[] }>("GET", "/imports", { signal })).items,
  // The event stream reports each step; polling covers a lost event.
  refetchInterval: (query) => (query.state.data?.some(isOpen) ? 3000 : false),
});

export function isOpen(job: ImportJob): boolean {
  return job.status === "queued" || job.status === "running";
}

export const cancelImport = (id: string) => api<ImportJob>("POST", `/imports/${id}/cancel`);
export const undoImport = (id: string) => api<ImportJob>("POST", `/imports/${id}/undo`);
export const confirmExport = () => api<void>("POST", "/export/confirm");
