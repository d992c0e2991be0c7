import { ApiError, OfflineError } from "./client";

/** Return the message to show for any error. */
export function wordsFor(error: unknown): string {
  return error instanceof ApiError || error instanceof OfflineError
    ? error.message
    : "Something went wrong in this page. Reload it; nothing that was sent is lost.";
}

/** Return what is wrong with a field of a form, if that is what an error says. */
export function wordsForField(error: unknown, field: string): string | undefined {
  return error instanceof ApiError ? error.field(field) : undefined;
}
