import { ApiError, OfflineError } from "./client";

/** Return the message to show for any error. */
export function wordsFor(error: unknown): string {
  return error instanceof ApiError || error instanceof OfflineError
    ? error.message
    : "Something went wrong in this page. Reload it; nothing that was sent is lost.";
}
