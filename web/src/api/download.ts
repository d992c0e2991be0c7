import { ApiError, OfflineError } from "./client";

/** Fetch a file and let the browser save it. Errors are shown, and the page stays. */
export async function downloadFile(path: string): Promise<void> {
  const answer = await fetch(`/api/v1${path}`).catch(() => {
    throw new OfflineError();
  });
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new ApiError(
      answer.status,
      problem.code ?? "unreadable",
      problem.detail ?? "It could not be made.",
    );
  }
  const encoded = /filename\*=UTF-8''([^;]+)/.exec(answer.headers.get("content-disposition") ?? "")?.[1];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = decodeURIComponent(encoded ?? "download");
  link.click();
  URL.revokeObjectURL(link.href);
}
