const PREFIX = "tertulia.typed.";

/** What somebody typed and has not sent: kept for each place over reloads, crashes and signing in again. */
export function readKeptText(place: string): string {
  try {
    return localStorage.getItem(PREFIX + place) ?? "";
  } catch {
    return "";
  }
}

export function keepText(place: string, text: string): void {
  try {
    if (text) localStorage.setItem(PREFIX + place, text);
    else localStorage.removeItem(PREFIX + place);
  } catch {
    // Storage is full or turned off: the text is still in the box, which is all that can be done.
  }
}
