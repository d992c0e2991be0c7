const PREFIX = "tertulia.typed.";
let person = "";

/** From here on it is this person who types: what another typed at the same device is not theirs to see. */
export function keepFor(userId: string): void {
  person = userId;
}

/** What somebody typed and has not sent: kept for each place over reloads, crashes and signing in again. */
export function readKeptText(place: string): string {
  try {
    return localStorage.getItem(keyOf(place)) ?? "";
  } catch {
    return "";
  }
}

export function keepText(place: string, text: string): void {
  try {
    if (text) localStorage.setItem(keyOf(place), text);
    else localStorage.removeItem(keyOf(place));
  } catch {
    // Storage is full or turned off: the text is still in the box, which is all that can be done.
  }
}

const keyOf = (place: string) => `${PREFIX}${person}.${place}`;
