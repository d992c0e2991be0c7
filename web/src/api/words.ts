import { ApiError, OfflineError } from "./client";

/** What to tell a person about a failure of any kind. */
export function wordsFor(error: unknown): string {
  return error instanceof ApiError || error instanceof OfflineError
    ? error.message
    : "Something went wrong in this page. Reload it; nothing that was sent is lost.";
}
