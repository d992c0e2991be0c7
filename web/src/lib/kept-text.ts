const PREFIX = "tertulia.typed.";
let person = "";

/** Set the current user. Stored text of other users of this browser is not shown. */
export function keepFor(userId: string): void {
  person = userId;
}

/** Unsent text of each place, kept over reloads, crashes and sign-ins. */
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
    // Storage is full or turned off: the text is only in the box.
  }
}

const keyOf = (place: string) => `${PREFIX}${person}.${place}`;
