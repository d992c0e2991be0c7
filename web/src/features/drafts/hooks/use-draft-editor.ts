import { useEffect, useRef, useState } from "react";
import { useRealtime } from "@/realtime/provider";
import { DraftEditor } from "../editor";
import type { Draft } from "../queries";
import { Saver, type Saving } from "../saver";

export type Selection = { start: number; end: number };

/** The editor of a draft and its saver, while the page shows it. */
export function useDraftEditor(
  draft: Draft,
  onDecide: (editId: string, deciding: "accept" | "reject") => void,
) {
  const place = useRef<HTMLDivElement>(null);
  const [editor, setEditor] = useState<DraftEditor>();
  const [saver, setSaver] = useState<Saver>();
  const [saving, setSaving] = useState<Saving>({
    state: "saved",
    versionNumber: draft.current_version_number,
  });
  const [text, setText] = useState(draft.working_copy?.content ?? draft.current_version.content);
  const [selection, setSelection] = useState<Selection>({ start: 0, end: 0 });
  const first = useRef(draft); // later loads reach the editor through the saver
  const decide = useRef(onDecide);
  decide.current = onDecide;
  const realtime = useRealtime();
  const canWrite = draft.permissions.can_write;
  useEffect(() => {
    editor?.setReadOnly(!canWrite);
    saver?.setWriting(canWrite);
  }, [editor, saver, canWrite]);
  useEffect(() => {
    const parent = place.current;
    if (!parent) return;
    const loaded = first.current;
    const saves = new Saver(loaded.id, loaded, setSaving);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const show = () => {
      // Count and preview a long text only when typing pauses.
      clearTimeout(timer);
      timer = setTimeout(() => setText(draftEditor.text), 150);
    };
    const draftEditor = new DraftEditor({
      parent,
      text: saves.first,
      nonce: document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content,
      isReadOnly: !loaded.permissions.can_write,
      onChange: () => {
        saves.changed();
        show();
      },
      onSelect: (start, end) => setSelection({ start, end }),
      onSave: () => void saves.save().catch(() => undefined),
      onDecide: (editId, deciding) => decide.current(editId, deciding),
    });
    saves.attach({
      get text() {
        return draftEditor.text;
      },
      applyRemote: (before, after, isOwn) => {
        draftEditor.applyRemote(before, after, isOwn);
        show();
      },
    });
    // Focus the text where there is a keyboard. On a phone the keyboard would cover it.
    const focusing = matchMedia("(pointer: fine)").matches
      ? setTimeout(() => draftEditor.focus())
      : undefined;
    setEditor(draftEditor);
    setSaver(saves);
    show();
    // The loaded draft may be from the cache.
    void saves.heard(undefined);
    const leave = () => void saves.store(true);
    const hide = () => document.visibilityState === "hidden" && void saves.store(true);
    addEventListener("pagehide", leave);
    document.addEventListener("visibilitychange", hide);
    const forget = realtime.listen((message) => {
      if (message.tell === "reload") void saves.heard(undefined);
      if (message.tell === "connection" && message.state === "online") void saves.store();
      if (message.tell !== "change" || message.change.topic !== `draft:${loaded.id}`) return;
      const { change } = message;
      if (change.entity === "draft_working_copy") void saves.heard(change.payload?.revision);
      if (change.entity === "draft_version") void saves.heard(undefined);
    });
    return () => {
      clearTimeout(timer);
      clearTimeout(focusing);
      forget();
      removeEventListener("pagehide", leave);
      document.removeEventListener("visibilitychange", hide);
      saves.close();
      draftEditor.destroy();
    };
  }, [realtime]);
  return { place, editor, saver, saving, text, selection };
}
