import { defaultKeymap, history, historyKeymap, indentWithTab, isolateHistory } from "@codemirror/commands";
import { markdown } from "@codemirror/lang-markdown";
import { HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { diff } from "@codemirror/merge";
import { search, searchKeymap } from "@codemirror/search";
import {
  Annotation,
  ChangeSet,
  Compartment,
  EditorState,
  type Range,
  StateEffect,
  StateField,
  type Text,
  Transaction,
} from "@codemirror/state";
import {
  Decoration,
  type DecorationSet,
  drawSelection,
  EditorView,
  keymap,
  placeholder,
  WidgetType,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";
import type { LiveEdit } from "./live-edits";

/** A proposed edit with its position in the current text. */
export type PlacedEdit = { id: string; start: number; end: number; oldText: string; newText: string };
/** A number of characters and their author. */
export type Authored = { length: number; who: "person" | "model"; words: string };

type Options = {
  parent: HTMLElement;
  text: string;
  nonce: string | undefined;
  isReadOnly: boolean;
  onChange: (text: string) => void;
  onSelect: (start: number, end: number) => void;
  onSave: () => void;
  onDecide: (editId: string, deciding: "accept" | "reject") => void;
};

const remote = Annotation.define<boolean>();
const setEdits = StateEffect.define<PlacedEdit[]>();
const setLive = StateEffect.define<LiveEdit[]>();
const setFocused = StateEffect.define<string | undefined>();
const setAuthors = StateEffect.define<Authored[] | undefined>();

const leave = new Compartment();
const readOnly = (is: boolean) => [
  EditorState.readOnly.of(is),
  EditorView.contentAttributes.of({ "aria-readonly": String(is) }),
  placeholder(is ? "Nothing is written yet." : "Write, or ask for a first text below."),
];

/** A thin wrapper around CodeMirror. Components call its methods. */
export class DraftEditor {
  readonly #view: EditorView;

  constructor(options: Options) {
    const listen = EditorView.updateListener.of((update) => {
      if (update.docChanged && !update.transactions.every((transaction) => transaction.annotation(remote)))
        options.onChange(update.state.doc.toString());
      if (update.selectionSet || update.docChanged) {
        const { from, to } = update.state.selection.main;
        options.onSelect(from, to);
      }
    });
    const decide = (deciding: "accept" | "reject") => () => {
      const chosen = this.focusedEdit;
      if (chosen) options.onDecide(chosen, deciding);
      return chosen !== undefined;
    };
    this.#view = new EditorView({
      parent: options.parent,
      state: EditorState.create({
        doc: options.text,
        extensions: [
          ...(options.nonce ? [EditorView.cspNonce.of(options.nonce)] : []),
          leave.of(readOnly(options.isReadOnly)),
          history(),
          drawSelection(),
          EditorView.lineWrapping,
          markdown(),
          syntaxHighlighting(HIGHLIGHT),
          search({ top: true }),
          EditorView.contentAttributes.of({
            "aria-label": "The text of the draft",
            tabindex: "0",
            spellcheck: "true",
            autocorrect: "on",
            autocapitalize: "sentences",
          }),
          proposed(options.onDecide),
          written,
          authored,
          keymap.of([
            {
              key: "Mod-s",
              preventDefault: true,
              run: () => {
                options.onSave();
                return true;
              },
            },
            { key: "F8", run: () => this.stepEdit(1), shift: () => this.stepEdit(-1) },
            { key: "Mod-Enter", run: decide("accept") },
            { key: "Mod-Shift-Enter", run: decide("reject") },
            ...searchKeymap,
            ...historyKeymap,
            ...defaultKeymap,
            indentWithTab,
          ]),
          listen,
          THEME,
        ],
      }),
    });
  }

  get text(): string {
    return this.#view.state.doc.toString();
  }

  get selection(): { start: number; end: number } {
    const { from, to } = this.#view.state.selection.main;
    return { start: from, end: to };
  }

  focus(): void {
    this.#view.focus();
  }

  destroy(): void {
    this.#view.destroy();
  }

  /**
   * Apply a change from elsewhere that turned `before` into `after`. What was typed here since is kept.
   * The cursor stays at its word. Undo reverts only the user's own changes (`isOwn`).
   */
  applyRemote(before: string, after: string, isOwn = false): void {
    const now = this.text;
    const theirs = changeSet(before, after);
    const mine = changeSet(before, now);
    this.#view.dispatch({
      changes: theirs.map(mine),
      annotations: [remote.of(true), Transaction.addToHistory.of(isOwn), isolateHistory.of("full")],
    });
  }

  /** Show edits whose positions refer to `text`, the server's text. They are moved to the current text. */
  setEdits(text: string, edits: PlacedEdit[]): void {
    const { doc } = this.#view.state;
    const since = changeSet(text, this.text);
    const fitting = edits
      .flatMap((edit) => movedEdit(edit, since) ?? [])
      .filter((edit) => isThere(doc, edit));
    this.#view.dispatch({ effects: setEdits.of(fitting) });
  }

  /** Show the edits that a model is writing, positioned in the current text. */
  setLive(edits: LiveEdit[]): void {
    this.#view.dispatch({ effects: setLive.of(edits) });
  }

  /** Apply a change of the write permission while the draft is open. */
  setReadOnly(isReadOnly: boolean): void {
    this.#view.dispatch({ effects: leave.reconfigure(readOnly(isReadOnly)) });
  }

  get edits(): PlacedEdit[] {
    return this.#view.state.field(editsField).edits;
  }

  /** The edit that the keys decide on. */
  get focusedEdit(): string | undefined {
    const { edits, focused } = this.#view.state.field(editsField);
    return edits.find((edit) => edit.id === focused)?.id;
  }

  /** Move to the next or previous edit. Return whether there is one. */
  stepEdit(by: 1 | -1): boolean {
    const { edits, focused } = this.#view.state.field(editsField);
    if (edits.length === 0) return false;
    const at = edits.findIndex((edit) => edit.id === focused);
    const next = edits[(at + by + edits.length) % edits.length] ?? edits[0];
    if (!next) return false;
    this.#view.dispatch({
      effects: [setFocused.of(next.id), EditorView.scrollIntoView(next.start, { y: "center" })],
    });
    return true;
  }

  /** Mark the authors of `text`, the text of a version. `undefined` removes the marks. */
  setAuthors(text: string, authors: Authored[] | undefined): void {
    this.#view.dispatch({ effects: setAuthors.of(text === this.text ? authors : undefined) });
  }

  showPlace(at: number): void {
    const place = Math.min(at, this.#view.state.doc.length);
    this.#view.dispatch({
      selection: { anchor: place },
      effects: EditorView.scrollIntoView(place, { y: "start", yMargin: 16 }),
    });
    this.#view.focus();
  }
}

function isThere(doc: Text, edit: PlacedEdit): boolean {
  return edit.end <= doc.length && doc.sliceString(edit.start, edit.end) === edit.oldText;
}

function movedEdit(edit: PlacedEdit, changes: ChangeSet): PlacedEdit | undefined {
  const start = changes.mapPos(edit.start, 1);
  const end = changes.mapPos(edit.end, edit.start === edit.end ? 1 : -1);
  return start <= end ? { ...edit, start, end } : undefined;
}

/** Return the changes that turn one text into the other. */
export function changeSet(before: string, after: string): ChangeSet {
  const changes = diff(before, after, { scanLimit: 2000, timeout: 100 }).map(
    ({ fromA, toA, fromB, toB }) => ({
      from: fromA,
      to: toA,
      insert: after.slice(fromB, toB),
    }),
  );
  return ChangeSet.of(changes, before.length);
}

// ---- proposed edits: removed text is struck through, new text has two buttons

type Edits = { edits: PlacedEdit[]; focused: string | undefined };

const editsField = StateField.define<Edits>({
  create: () => ({ edits: [], focused: undefined }),
  update(value, transaction) {
    let { edits, focused } = value;
    if (transaction.docChanged && edits.length)
      edits = edits
        .flatMap((edit) => movedEdit(edit, transaction.changes) ?? [])
        .filter((edit) => isThere(transaction.newDoc, edit));
    for (const effect of transaction.effects) {
      if (effect.is(setEdits)) edits = effect.value;
      if (effect.is(setFocused)) focused = effect.value;
    }
    return edits === value.edits && focused === value.focused ? value : { edits, focused };
  },
});

function proposed(onDecide: Options["onDecide"]) {
  return [
    editsField,
    EditorView.decorations.compute([editsField], (state) => {
      const { edits, focused } = state.field(editsField);
      const ranges: Range<Decoration>[] = [];
      for (const edit of edits) {
        if (edit.start < edit.end) ranges.push(REMOVED.range(edit.start, edit.end));
        const widget = new EditWidget(edit, edit.id === focused, onDecide);
        ranges.push(Decoration.widget({ widget, side: 1 }).range(edit.end));
      }
      return Decoration.set(ranges, true);
    }),
  ];
}

const REMOVED = Decoration.mark({ class: "cm-proposed-gone", tagName: "del" });

class EditWidget extends WidgetType {
  constructor(
    readonly edit: PlacedEdit,
    readonly isFocused: boolean,
    readonly onDecide: Options["onDecide"],
  ) {
    super();
  }

  eq(other: EditWidget): boolean {
    return (
      other.edit.id === this.edit.id &&
      other.edit.newText === this.edit.newText &&
      other.isFocused === this.isFocused
    );
  }

  toDOM(): HTMLElement {
    const whole = document.createElement("span");
    whole.className = this.isFocused ? "cm-proposed cm-proposed-focused" : "cm-proposed";
    if (this.edit.newText) {
      const words = document.createElement("ins");
      words.textContent = this.edit.newText;
      whole.append(words);
    }
    for (const [deciding, sign, label] of [
      ["accept", "✓", "Accept this change"],
      ["reject", "✕", "Reject this change"],
    ] as const) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = sign;
      button.title = label;
      button.setAttribute("aria-label", label);
      button.addEventListener("mousedown", (event) => event.preventDefault());
      button.addEventListener("click", () => this.onDecide(this.edit.id, deciding));
      whole.append(button);
    }
    return whole;
  }

  ignoreEvent(): boolean {
    return true;
  }
}

// ---- edits that are still being written: the same without buttons

const written = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(value, transaction) {
    let shown = value.map(transaction.changes);
    for (const effect of transaction.effects) {
      if (!effect.is(setLive)) continue;
      const ranges: Range<Decoration>[] = [];
      for (const { start, end, newText } of effect.value) {
        if (start < end) ranges.push(REMOVED.range(start, end));
        ranges.push(Decoration.widget({ widget: new WrittenWidget(newText), side: 1 }).range(end));
      }
      shown = Decoration.set(ranges, true);
    }
    return shown;
  },
  provide: (field) => EditorView.decorations.from(field),
});

class WrittenWidget extends WidgetType {
  constructor(readonly words: string) {
    super();
  }

  eq(other: WrittenWidget): boolean {
    return other.words === this.words;
  }

  toDOM(): HTMLElement {
    const whole = document.createElement("span");
    whole.className = "cm-proposed cm-proposed-written";
    const words = document.createElement("ins");
    words.textContent = this.words;
    whole.append(words);
    return whole;
  }

  updateDOM(whole: HTMLElement): boolean {
    const words = whole.querySelector("ins");
    if (words) words.textContent = this.words;
    return words !== null;
  }
}

// ---- authorship

const authored = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(value, transaction) {
    let shown = value.map(transaction.changes);
    for (const effect of transaction.effects) {
      if (!effect.is(setAuthors)) continue;
      const ranges: Range<Decoration>[] = [];
      let at = 0;
      for (const span of effect.value ?? []) {
        const end = Math.min(at + span.length, transaction.newDoc.length);
        if (at < end)
          ranges.push(
            Decoration.mark({
              class: `cm-by-${span.who}`,
              attributes: { title: span.words },
            }).range(at, end),
          );
        at = end;
      }
      shown = Decoration.set(ranges);
    }
    return shown;
  },
  provide: (field) => EditorView.decorations.from(field),
});

const HIGHLIGHT = HighlightStyle.define([
  { tag: tags.heading1, class: "cm-h1" },
  { tag: [tags.heading2, tags.heading3, tags.heading4, tags.heading5, tags.heading6], class: "cm-h2" },
  { tag: tags.strong, class: "cm-strong" },
  { tag: tags.emphasis, class: "cm-em" },
  { tag: [tags.link, tags.url], class: "cm-link" },
  { tag: [tags.monospace, tags.processingInstruction, tags.contentSeparator], class: "cm-quiet" },
]);

const THEME = EditorView.theme({
  "&": { height: "100%", backgroundColor: "transparent", color: "var(--text)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": {
    fontFamily: "var(--font-serif)",
    fontSize: "17px",
    lineHeight: "1.65",
    overflow: "auto",
  },
  ".cm-content": {
    maxWidth: "46rem",
    margin: "0 auto",
    padding: "1.5rem 1.5rem 40vh",
    caretColor: "var(--accent)",
    width: "100%",
  },
  ".cm-cursor": { borderLeftColor: "var(--accent)", borderLeftWidth: "2px" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    background: "var(--accent-quiet)",
  },
  ".cm-placeholder": { color: "var(--text-muted)" },
  ".cm-h1": { fontSize: "1.5em", fontWeight: "600", lineHeight: "1.3" },
  ".cm-h2": { fontSize: "1.2em", fontWeight: "600", lineHeight: "1.3" },
  ".cm-strong": { fontWeight: "600" },
  ".cm-em": { fontStyle: "italic" },
  ".cm-link": { color: "var(--accent)" },
  ".cm-quiet": { color: "var(--text-muted)" },
  ".cm-proposed-gone": { color: "var(--danger)", textDecoration: "line-through" },
  ".cm-proposed ins": {
    color: "var(--model)",
    textDecoration: "underline",
    textUnderlineOffset: "3px",
    whiteSpace: "pre-wrap",
  },
  ".cm-proposed button": {
    font: "600 13px var(--font-sans)",
    color: "var(--text-muted)",
    border: "1px solid var(--hairline-strong)",
    borderRadius: "6px",
    padding: "0 6px",
    marginLeft: "4px",
    minHeight: "24px",
    minWidth: "24px",
    verticalAlign: "baseline",
    backgroundColor: "var(--surface-raised)",
  },
  ".cm-proposed-focused button": { borderColor: "var(--accent)", color: "var(--accent)" },
  ".cm-by-model": {
    backgroundColor: "color-mix(in oklch, var(--model) 16%, transparent)",
    boxShadow: "inset 0 -2px var(--model)",
  },
  ".cm-by-person": { boxShadow: "inset 0 -2px color-mix(in oklch, var(--person) 45%, transparent)" },
  ".cm-panels": {
    backgroundColor: "var(--surface)",
    color: "var(--text)",
    borderColor: "var(--hairline)",
    fontFamily: "var(--font-sans)",
  },
  ".cm-panel.cm-search input, .cm-panel.cm-search button": {
    minHeight: "28px",
    color: "var(--text)",
    backgroundColor: "var(--surface-raised)",
    backgroundImage: "none",
    border: "1px solid var(--hairline-strong)",
    borderRadius: "6px",
  },
  ".cm-searchMatch": { backgroundColor: "var(--accent-quiet)" },
});
