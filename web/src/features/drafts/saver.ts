import { ApiError, OfflineError } from "@/api/client";
import { keepText, readKeptText } from "@/lib/kept-text";
import { type Draft, getDraft, type Merged, saveVersion, storeWorkingCopy, type Version } from "./queries";

const STORE_EVERY_MS = 700; // milliseconds between saves while typing
const RETRY_MS = 3000;
const PAUSE_MS = 120_000; // milliseconds without typing until a version is created
const MOST_KEPT_ALIVE = 15_000; // characters: a browser sends at most 64 kB after a page is closed

/** The visible saving state. `problem` is a message; `overlap` waits for the user's choice. */
export type Saving = {
  state: "saved" | "stored" | "storing" | "offline" | "failed";
  versionNumber: number;
  problem?: string;
  overlap?: Overlap;
};
/** `sent` is the text that conflicted; `revision` is null if it was a version. */
type Overlap = { merged: Merged; sent: string; versionNumber: number; revision: number | null };

type Editor = { text: string; applyRemote: (before: string, after: string, isOwn?: boolean) => void };
/** The version that the text is based on. Its text is unknown if the working copy is based on an older one. */
type Base = { number: number; content: string | undefined };
type Kept = { text: string; base: number; revision: number };

/**
 * Saves a draft: within a second as the working copy, and as a version on request or when typing pauses.
 *
 * Changes from other windows are merged with what is typed here; neither is overwritten. Text that the server
 * refuses stays in this browser and is merged when the draft is opened again.
 */
export class Saver {
  readonly #windowId = crypto.randomUUID();
  readonly #place: string;
  readonly first: string; // the initial text
  #editor: Editor | undefined;
  #base: Base;
  #stored: string; // the user's text on the server
  #revision: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pause: ReturnType<typeof setTimeout> | undefined;
  #work: Promise<unknown> = Promise.resolve(); // calls are sequential
  #isClosed = false;
  #mayWrite: boolean;
  readonly unsent: string | undefined; // text that was typed before the write permission was lost
  saving: Saving;

  constructor(
    private readonly draftId: string,
    draft: Draft,
    private readonly tell: (saving: Saving) => void,
  ) {
    this.#place = `draft.${draftId}`;
    const { current_version, working_copy } = draft;
    this.#stored = working_copy?.content ?? current_version.content;
    this.#revision = working_copy?.revision ?? 0;
    this.#base = baseOf(draft);
    const local = this.#readKept();
    this.#mayWrite = draft.permissions.can_write;
    this.unsent = this.#mayWrite ? undefined : local?.text;
    const kept = this.#mayWrite ? local : undefined;
    this.first = kept?.text ?? this.#stored;
    if (kept) {
      this.#base = { number: kept.base, content: undefined };
      this.#revision = kept.revision;
    }
    this.saving = {
      state: this.first === current_version.content ? "saved" : "stored",
      versionNumber: current_version.version_number,
    };
  }

  attach(editor: Editor): void {
    this.#editor = editor;
    if (this.first !== this.#stored) void this.store();
  }

  /** Apply a change of the write permission. Without it nothing is sent, and the text stays in this browser. */
  setWriting(mayWrite: boolean): void {
    if (mayWrite === this.#mayWrite) return;
    this.#mayWrite = mayWrite;
    if (mayWrite) void this.store();
    else this.#keep();
  }

  /** The server's text. Positions in its answers refer to this text. */
  get stored(): string {
    return this.#stored;
  }

  get #text(): string {
    return this.#editor?.text ?? this.#stored;
  }

  /** Handle typing. */
  changed(): void {
    this.#say({ state: "storing", problem: undefined });
    this.#storeSoon();
    clearTimeout(this.#pause);
    if (!this.saving.overlap)
      this.#pause = setTimeout(() => void this.save().catch(() => undefined), PAUSE_MS);
  }

  /** Store the text now; with `keepalive` also if the page is closed during the request. */
  store(keepalive = false): Promise<void> {
    this.#stopTimer();
    if (keepalive) this.#keep();
    return this.#inTurn(() => this.#store(keepalive));
  }

  /** Create a version of the text and return its number. */
  save(): Promise<number> {
    this.#stopTimer();
    clearTimeout(this.#pause);
    return this.#inTurn(async () => {
      const text = this.#text;
      if (text === this.#base.content && text === this.#stored) {
        this.#settle();
        return this.#base.number;
      }
      try {
        const saved = await this.#saveVersion(text);
        this.#take(text, saved);
        return saved.version_number;
      } catch (error) {
        this.#failed(error, text);
        throw error;
      }
    });
  }

  /** Let the server create a version, whose text replaces the current one. Undo can revert that. */
  make(work: () => Promise<Version | null>): Promise<void> {
    return this.#inTurn(async () => {
      const version = await work();
      if (!version || version.version_number <= this.#base.number) return;
      this.#take(this.#base.content ?? this.#stored, version, true);
    });
  }

  /** Handle a save of another window. The server merges text that is not stored yet. */
  heard(revision: number | undefined): Promise<void> {
    return this.#inTurn(async () => {
      if (revision !== undefined && revision === this.#revision) return;
      if (this.#text !== this.#stored || this.saving.overlap || this.#isClosed) return;
      const draft = await getDraft(this.draftId).catch(() => undefined);
      if (!draft || this.#text !== this.#stored) return;
      const copy = draft.working_copy;
      const base = baseOf(draft);
      if (base.number < this.#base.number) return; // the answer to a running request is newer
      const before = this.#stored;
      this.#base = base;
      this.#stored = copy?.content ?? draft.current_version.content;
      this.#revision = copy?.revision ?? this.#revision;
      if (this.#stored !== before) this.#editor?.applyRemote(before, this.#stored);
      this.#settle();
    });
  }

  /** Continue with the text that the user chose in a conflict, based on the other side. */
  resolve(chosen: string): Promise<void> {
    const overlap = this.saving.overlap;
    if (!overlap) return Promise.resolve();
    this.#editor?.applyRemote(overlap.sent, chosen, true); // keep what was typed since
    this.#say({ overlap: undefined, problem: undefined });
    if (overlap.revision !== null) {
      this.#revision = overlap.revision;
      return this.store();
    }
    this.#base = { number: overlap.versionNumber, content: undefined };
    return this.save().then(() => undefined);
  }

  /** Store the text and create a version when the page is left. */
  close(): void {
    if (this.#isClosed) return;
    this.#stopTimer();
    clearTimeout(this.#pause);
    this.#keep();
    const text = this.#text;
    this.#editor = { text, applyRemote: () => undefined };
    this.#isClosed = true;
    void this.#inTurn(async () => {
      await this.#store(true);
      if (
        !this.#mayWrite ||
        this.#stored === this.#base.content ||
        this.saving.overlap ||
        this.saving.state === "offline"
      )
        return;
      // Text that cannot become a version now is stored, and becomes one later.
      await this.#saveVersion(this.#stored).catch(() => undefined);
    });
  }

  async #store(keepalive: boolean): Promise<void> {
    const text = this.#text;
    if (!this.#mayWrite) return this.#keep();
    // A conflict with another window waits for a choice. A conflict with a version can be stored.
    if (text === this.#stored || typeof this.saving.overlap?.revision === "number") return this.#settle();
    try {
      const stored = await storeWorkingCopy(
        this.draftId,
        {
          content: text,
          base_version_number: this.#base.number,
          revision: this.#revision,
          window_id: this.#windowId,
        },
        keepalive && text.length < MOST_KEPT_ALIVE,
      );
      this.#revision = stored.revision;
      this.#stored = stored.content;
      if (stored.base_version_number !== this.#base.number)
        this.#base = { number: stored.base_version_number, content: undefined };
      if (stored.content !== text) this.#editor?.applyRemote(text, stored.content);
      this.#settle();
    } catch (error) {
      this.#failed(error, text);
    }
  }

  #saveVersion(content: string) {
    return saveVersion(this.draftId, {
      content,
      parent_version_number: this.#base.number,
      name: null,
      branch: false,
      working_copy_revision: this.#revision || null,
    });
  }

  #take(sent: string, version: Version, isOwn = false): void {
    this.#base = { number: version.version_number, content: version.content };
    this.#stored = version.content;
    if (version.content !== sent) this.#editor?.applyRemote(sent, version.content, isOwn);
    this.#say({ overlap: undefined, problem: undefined });
    this.#settle();
  }

  #settle(): void {
    const text = this.#text;
    const state = text !== this.#stored ? "storing" : text === this.#base.content ? "saved" : "stored";
    this.#say({ state, versionNumber: this.#base.number, problem: undefined });
    if (state !== "storing") keepText(this.#place, "");
    else if (typeof this.saving.overlap?.revision === "number") this.#keep();
    else this.#storeSoon();
  }

  #failed(error: unknown, sent: string): void {
    this.#keep();
    if (error instanceof ApiError && error.code === "draft_version_conflict") {
      const conflict = error.details as { merged: Merged; version_number: number; revision: number | null };
      this.#say({
        state: "failed",
        problem: error.message,
        overlap: {
          merged: conflict.merged,
          sent,
          versionNumber: conflict.version_number,
          revision: conflict.revision ?? null,
        },
      });
      return;
    }
    const isOffline = error instanceof OfflineError;
    const words = error instanceof Error ? error.message : "It could not be saved.";
    this.#say({ state: isOffline ? "offline" : "failed", problem: words });
    const mayPass = isOffline || (error instanceof ApiError && (error.status >= 500 || error.status === 429));
    if (mayPass) this.#storeSoon(RETRY_MS);
  }

  #storeSoon(after = STORE_EVERY_MS): void {
    if (!this.#isClosed) this.#timer ??= setTimeout(() => void this.store(), after);
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Store in this browser until the server has the text. */
  #keep(): void {
    const text = this.#text;
    if (text === this.#stored || this.#isClosed) return;
    const kept: Kept = { text, base: this.#base.number, revision: this.#revision };
    keepText(this.#place, JSON.stringify(kept));
  }

  #readKept(): Kept | undefined {
    try {
      const kept = JSON.parse(readKeptText(this.#place)) as Kept;
      return typeof kept.text === "string" && kept.text !== this.#stored ? kept : undefined;
    } catch {
      return undefined;
    }
  }

  #inTurn<T>(work: () => Promise<T> | T): Promise<T> {
    const done = this.#work.then(work, work);
    this.#work = done.catch(() => undefined);
    return done;
  }

  #say(change: Partial<Saving>): void {
    this.saving = { ...this.saving, ...change };
    if (!this.#isClosed) this.tell(this.saving);
  }
}

function baseOf({ current_version, working_copy }: Draft): Base {
  const isOnCurrent = !working_copy || working_copy.base_version_number === current_version.version_number;
  return isOnCurrent
    ? { number: current_version.version_number, content: current_version.content }
    : { number: working_copy.base_version_number, content: undefined };
}
