import { ApiError, OfflineError } from "@/api/client";
import { getDraft, type Merged, saveVersion, storeWorkingCopy, type Version } from "./queries";

const STORE_EVERY_MS = 700; // while somebody types
const RETRY_MS = 3000;
const PAUSE_MS = 120_000; // without typing: then it is worth a version

/** What can be seen of the saving. `problem` is in words; `overlap` waits for the person to choose. */
export type Saving = {
  state: "saved" | "stored" | "storing" | "offline" | "failed";
  versionNumber: number;
  problem?: string;
  overlap?: { merged: Merged; versionNumber: number; revision: number | null };
};

type Editor = { text: string; applyRemote: (before: string, after: string) => void };
type Base = Pick<Version, "version_number" | "content">;

/**
 * Keeps what is typed: within a second as the working copy, and as a version when that is asked for or somebody pauses.
 *
 * What other windows stored comes in beside what is typed here; nothing of either is overwritten.
 */
export class Saver {
  readonly #windowId = crypto.randomUUID();
  #editor: Editor | undefined;
  #stored: string; // what the server has of this person's text
  #revision: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pause: ReturnType<typeof setTimeout> | undefined;
  #work: Promise<unknown> = Promise.resolve(); // one call after the other
  #isClosed = false;
  saving: Saving;

  constructor(
    private readonly draftId: string,
    private base: Base,
    copy: { content: string; revision: number; base_version_number: number } | null,
    private readonly tell: (saving: Saving) => void,
  ) {
    this.#stored = copy?.content ?? base.content;
    this.#revision = copy?.revision ?? 0;
    // Typed on an older version than the current one: a save merges it.
    if (copy && copy.base_version_number !== base.version_number)
      this.base = { version_number: copy.base_version_number, content: "" };
    this.saving = {
      state: this.#stored === base.content ? "saved" : "stored",
      versionNumber: base.version_number,
    };
  }

  attach(editor: Editor): void {
    this.#editor = editor;
  }

  get versionNumber(): number {
    return this.base.version_number;
  }

  get hasUnsaved(): boolean {
    return this.#text !== this.base.content;
  }

  get #text(): string {
    return this.#editor?.text ?? this.#stored;
  }

  /** Somebody typed. */
  changed(): void {
    this.#say({ state: "storing", problem: undefined });
    this.#timer ??= setTimeout(() => void this.store(), STORE_EVERY_MS);
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => void this.save().catch(() => undefined), PAUSE_MS);
  }

  /** Store what is typed, now. */
  store(keepalive = false): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (keepalive) {
      // The page is being left: nothing of it runs after this.
      if (this.#text !== this.#stored) void this.#put(this.#text, true).catch(() => undefined);
      return Promise.resolve();
    }
    return this.#inTurn(async () => {
      const text = this.#text;
      if (text === this.#stored || this.saving.overlap) return this.#settle();
      try {
        const stored = await this.#put(text);
        this.#revision = stored.revision;
        this.#stored = stored.content;
        if (stored.content !== text) this.#editor?.applyRemote(text, stored.content);
        this.#settle();
      } catch (error) {
        this.#failed(error, () => void this.store());
      }
    });
  }

  /** Make a version of what is typed; gives its number. */
  save(name?: string): Promise<number> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    clearTimeout(this.#pause);
    return this.#inTurn(async () => {
      const text = this.#text;
      if (text === this.base.content && !name) return this.base.version_number;
      try {
        const made = await saveVersion(this.draftId, {
          content: text,
          parent_version_number: this.base.version_number,
          name: name ?? null,
          branch: false,
          window_id: this.#windowId,
        });
        this.#take(text, made);
        return made.version_number;
      } catch (error) {
        this.#failed(error, undefined);
        throw error;
      }
    });
  }

  /** A version that was made elsewhere, or by the server of what was here, is the text now. */
  adopt(version: Version): Promise<void> {
    return this.#inTurn(async () => this.#take(this.base.content, version));
  }

  /** Another window has stored or saved. What is not stored here yet is merged by the server when it is. */
  heard(revision: number | undefined): Promise<void> {
    if (revision !== undefined && revision === this.#revision) return Promise.resolve();
    return this.#inTurn(async () => {
      if (this.#text !== this.#stored || this.saving.overlap) return;
      const draft = await getDraft(this.draftId).catch(() => undefined);
      if (!draft || this.#text !== this.#stored) return;
      const content = draft.working_copy?.content ?? draft.current_version.content;
      const before = this.#stored;
      this.base =
        draft.working_copy && draft.working_copy.base_version_number !== draft.current_version.version_number
          ? { version_number: draft.working_copy.base_version_number, content: "" }
          : draft.current_version;
      this.#stored = content;
      this.#revision = draft.working_copy?.revision ?? this.#revision;
      if (content !== before) this.#editor?.applyRemote(before, content);
      this.#settle();
    });
  }

  /** The person has chosen for each place: that is the text, on the version that the other side is. */
  resolve(chosen: string): Promise<void> {
    const overlap = this.saving.overlap;
    if (!overlap) return Promise.resolve();
    const before = this.#text;
    this.#editor?.applyRemote(before, chosen);
    this.#say({ overlap: undefined, problem: undefined });
    if (overlap.revision !== null) {
      this.#revision = overlap.revision;
      return this.store();
    }
    this.base = { version_number: overlap.versionNumber, content: "" };
    return this.save().then(() => undefined);
  }

  /** The page is left. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#pause);
    const text = this.#text;
    const hasMore = text !== this.base.content;
    this.#editor = undefined;
    if (text !== this.#stored) void this.#put(text, true).catch(() => undefined);
    this.#stored = text;
    if (hasMore && !this.saving.overlap)
      void this.#inTurn(() =>
        saveVersion(this.draftId, {
          content: text,
          parent_version_number: this.base.version_number,
          name: null,
          branch: false,
          window_id: this.#windowId,
        }),
      ).catch(() => undefined); // the copy is stored, and becomes a version by itself
  }

  #put(content: string, keepalive = false) {
    const body = {
      content,
      base_version_number: this.base.version_number,
      revision: this.#revision,
      window_id: this.#windowId,
    };
    // What goes on after the page may have 64 kB at most.
    return storeWorkingCopy(this.draftId, body, keepalive && content.length < 15_000);
  }

  #take(sent: string, version: Version): void {
    this.base = version;
    this.#stored = version.content;
    if (version.content !== sent) this.#editor?.applyRemote(sent, version.content);
    this.#say({ overlap: undefined, problem: undefined, versionNumber: version.version_number });
    this.#settle();
  }

  #settle(): void {
    const text = this.#text;
    const state = text !== this.#stored ? "storing" : text === this.base.content ? "saved" : "stored";
    this.#say({ state, versionNumber: this.base.version_number, problem: undefined });
    if (state === "storing") this.#timer ??= setTimeout(() => void this.store(), STORE_EVERY_MS);
  }

  #failed(error: unknown, again: (() => void) | undefined): void {
    if (error instanceof ApiError && error.code === "draft_version_conflict") {
      const told = error.told as { merged: Merged; version_number: number; revision: number | null };
      this.#say({
        state: "failed",
        problem: error.message,
        overlap: { merged: told.merged, versionNumber: told.version_number, revision: told.revision },
      });
      return;
    }
    const isOffline = error instanceof OfflineError;
    const words = error instanceof Error ? error.message : "It could not be saved.";
    this.#say({ state: isOffline ? "offline" : "failed", problem: words });
    const mayPass = isOffline || (error instanceof ApiError && (error.status >= 500 || error.status === 429));
    if (again && mayPass && !this.#isClosed) this.#timer ??= setTimeout(again, RETRY_MS);
  }

  #inTurn<T>(work: () => Promise<T> | T): Promise<T> {
    const done = this.#work.then(work, work);
    this.#work = done.catch(() => undefined);
    return done;
  }

  #say(change: Partial<Saving>): void {
    this.saving = { ...this.saving, ...change };
    this.tell(this.saving);
  }
}
