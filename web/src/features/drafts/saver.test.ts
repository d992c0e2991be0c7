import { beforeEach, describe, expect, it, vi } from "vitest";
import { readKeptText } from "@/lib/kept-text";
import { makeDraft, makeVersion } from "@/test/factories";
import { fakeServer, problem } from "@/test/server";
import { Saver, type Saving } from "./saver";

const WORKING_COPY = "PUT /drafts/d1/working-copy";
const VERSIONS = "POST /drafts/d1/versions";

/** A text box that merges what the server sends the way the real editor does: it replaces the text that was sent. */
function editorOf(first: string) {
  const remote: { before: string; after: string; isOwn: boolean }[] = [];
  const editor = {
    text: first,
    applyRemote: (before: string, after: string, isOwn = false) => {
      remote.push({ before, after, isOwn });
      editor.text = editor.text === before ? after : editor.text;
    },
    remote,
  };
  return editor;
}

function open(draft = makeDraft()) {
  const states: Saving[] = [];
  const saver = new Saver("d1", draft, (saving) => states.push(saving));
  const editor = editorOf(saver.first);
  saver.attach(editor);
  const type = (text: string) => {
    editor.text = text;
    saver.changed();
  };
  return { saver, editor, type, told: states };
}

const stored = (body: { content: string; base_version_number: number }, revision = 1) => ({
  content: body.content,
  base_version_number: body.base_version_number,
  revision,
});

beforeEach(() => vi.useFakeTimers());

describe("storing what is typed", () => {
  it("waits for 700 ms of typing and sends the newest text once", async () => {
    const server = fakeServer({ [WORKING_COPY]: ({ body }: { body: never }) => stored(body) });
    const { saver, type } = open();
    type("One two three four");
    type("One two three four five");
    expect(saver.saving.state).toBe("storing");
    await vi.advanceTimersByTimeAsync(699);
    expect(server.bodies(WORKING_COPY)).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(server.bodies(WORKING_COPY)).toMatchObject([
      { content: "One two three four five", base_version_number: 1, revision: 0 },
    ]);
    expect(saver.saving.state).toBe("stored");
  });

  it("sends the revision that the server gave last", async () => {
    let revision = 0;
    const server = fakeServer({
      [WORKING_COPY]: ({ body }: { body: never }) => {
        revision += 1;
        return stored(body, revision);
      },
    });
    const { saver, type } = open();
    type("a");
    await saver.store();
    type("ab");
    await saver.store();
    expect(server.bodies(WORKING_COPY)).toMatchObject([{ revision: 0 }, { revision: 1 }]);
  });

  it("stores again what was typed while a request was on its way", async () => {
    let answer: (value: unknown) => void = () => undefined;
    const server = fakeServer({
      [WORKING_COPY]: () => new Promise((resolve) => (answer = resolve)),
    });
    const { saver, type } = open();
    type("first");
    const storing = saver.store();
    await vi.advanceTimersByTimeAsync(0);
    type("first second");
    answer({ content: "first", base_version_number: 1, revision: 1 });
    await storing;
    expect(saver.saving.state).toBe("storing");
    await vi.advanceTimersByTimeAsync(700);
    expect(server.bodies(WORKING_COPY)).toMatchObject([{ content: "first" }, { content: "first second" }]);
  });

  it("brings in what the server merged from another window", async () => {
    fakeServer({ [WORKING_COPY]: { content: "Zero one two", base_version_number: 1, revision: 4 } });
    const { saver, editor, type } = open();
    type("one two");
    await saver.store();
    expect(editor.text).toBe("Zero one two");
    expect(saver.stored).toBe("Zero one two");
  });

  it("reports saved when the text is the version again", async () => {
    fakeServer({ [WORKING_COPY]: ({ body }: { body: never }) => stored(body) });
    const { saver, type } = open();
    type("changed");
    await saver.store();
    type("One two three");
    await saver.store();
    expect(saver.saving.state).toBe("saved");
  });
});

describe("when the server does not take it", () => {
  it("keeps the text in this browser while offline, and sends it when the server is back", async () => {
    const server = fakeServer({ [WORKING_COPY]: ({ body }: { body: never }) => stored(body) });
    const { saver, type } = open();
    server.goOffline();
    type("typed offline");
    await saver.store();
    expect(saver.saving.state).toBe("offline");
    expect(JSON.parse(readKeptText("draft.d1"))).toMatchObject({ text: "typed offline", base: 1 });
    server.goOffline(false);
    await vi.advanceTimersByTimeAsync(3000);
    expect(server.bodies(WORKING_COPY)).toMatchObject([{ content: "typed offline" }]);
    expect(saver.saving.state).toBe("stored");
    expect(readKeptText("draft.d1")).toBe("");
  });

  it("starts with the kept text when the draft is opened again, and stores it", async () => {
    const server = fakeServer({ [WORKING_COPY]: ({ body }: { body: never }) => stored(body) });
    const first = open();
    server.goOffline();
    first.type("typed before the crash");
    await first.saver.store();
    server.goOffline(false);
    const second = open();
    expect(second.editor.text).toBe("typed before the crash");
    await vi.advanceTimersByTimeAsync(0);
    expect(server.bodies(WORKING_COPY)).toMatchObject([{ content: "typed before the crash" }]);
  });

  it("tries again after a server error and not after a refusal", async () => {
    const server = fakeServer({
      [WORKING_COPY]: problem(503, "storage_unavailable", "Try again in a moment."),
    });
    const { saver, type } = open();
    type("x");
    await saver.store();
    expect(saver.saving).toMatchObject({ state: "failed", problem: "Try again in a moment." });
    server.set(WORKING_COPY, problem(422, "too_long", "The text is too long."));
    await vi.advanceTimersByTimeAsync(3000);
    expect(server.calls).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(30_000);
    expect(server.calls).toHaveLength(2);
    expect(saver.saving.problem).toBe("The text is too long.");
    expect(JSON.parse(readKeptText("draft.d1")).text).toBe("x");
  });

  it("ignores kept text that cannot be read", () => {
    fakeServer({});
    localStorage.setItem("tertulia.typed..draft.d1", "{broken");
    expect(open().editor.text).toBe("One two three");
  });
});

describe("permission to write", () => {
  const readOnly = makeDraft("One", { permissions: { can_read: true, can_write: false, can_share: false } });

  it("sends nothing without it, and offers what was typed before", async () => {
    localStorage.setItem("tertulia.typed..draft.d1", JSON.stringify({ text: "mine", base: 1, revision: 0 }));
    const server = fakeServer({});
    const { saver } = open(readOnly);
    expect(saver.unsent).toBe("mine");
    expect(saver.first).toBe("One");
    await saver.store();
    expect(server.calls).toEqual([]);
  });

  it("stores what was typed once it is granted", async () => {
    const server = fakeServer({ [WORKING_COPY]: ({ body }: { body: never }) => stored(body) });
    const { saver, editor } = open(readOnly);
    editor.text = "One and more";
    saver.setWriting(true);
    await vi.advanceTimersByTimeAsync(0);
    expect(server.bodies(WORKING_COPY)).toMatchObject([{ content: "One and more" }]);
  });

  it("keeps what is typed in this browser once it is revoked", async () => {
    const server = fakeServer({});
    const { saver, editor } = open();
    editor.text = "half a sentence";
    saver.setWriting(false);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(server.calls).toEqual([]);
    expect(JSON.parse(readKeptText("draft.d1")).text).toBe("half a sentence");
  });
});

describe("versions", () => {
  it("makes none when nothing changed", async () => {
    const server = fakeServer({});
    expect(await open().saver.save()).toBe(1);
    expect(server.calls).toEqual([]);
  });

  it("names the version and the working copy that it is made from", async () => {
    const server = fakeServer({
      [WORKING_COPY]: ({ body }: { body: never }) => stored(body, 7),
      [VERSIONS]: ({ body }: { body: { content: string } }) =>
        makeVersion({ version_number: 2, content: body.content }),
    });
    const { saver, type } = open();
    type("Four");
    await saver.store();
    expect(await saver.save()).toBe(2);
    expect(server.bodies(VERSIONS)).toEqual([
      { content: "Four", parent_version_number: 1, name: null, branch: false, working_copy_revision: 7 },
    ]);
    expect(saver.saving).toMatchObject({ state: "saved", versionNumber: 2 });
  });

  it("are made by themselves after two minutes without typing", async () => {
    const server = fakeServer({
      [WORKING_COPY]: ({ body }: { body: never }) => stored(body),
      [VERSIONS]: ({ body }: { body: { content: string } }) =>
        makeVersion({ version_number: 2, content: body.content }),
    });
    open().type("resting");
    await vi.advanceTimersByTimeAsync(119_000);
    expect(server.bodies(VERSIONS)).toEqual([]);
    await vi.advanceTimersByTimeAsync(1000);
    expect(server.bodies(VERSIONS)).toMatchObject([{ content: "resting" }]);
  });

  it("take over what an own action made, as a change that can be undone", async () => {
    fakeServer({});
    const { saver, editor } = open();
    await saver.make(async () => makeVersion({ version_number: 2, content: "From a proposal" }));
    expect(editor.remote).toEqual([{ before: "One two three", after: "From a proposal", isOwn: true }]);
    expect(saver.saving.versionNumber).toBe(2);
  });

  it("are not taken over when they are not newer", async () => {
    fakeServer({});
    const { saver, editor } = open();
    await saver.make(async () => makeVersion({ version_number: 1, content: "Old" }));
    await saver.make(async () => null);
    expect(editor.remote).toEqual([]);
  });
});

describe("conflicts", () => {
  const conflict = (revision: number | null) =>
    problem(409, "draft_version_conflict", "Both changed the same words.", {
      merged: [{ kind: "overlap", base: "a", mine: "b", theirs: "c" }],
      version_number: 3,
      revision,
    });

  it("are told with both sides, and lose nothing", async () => {
    fakeServer({ [WORKING_COPY]: conflict(9) });
    const { saver, type } = open();
    type("b");
    await saver.store();
    expect(saver.saving.state).toBe("failed");
    expect(saver.saving.overlap).toMatchObject({ sent: "b", versionNumber: 3, revision: 9 });
    expect(JSON.parse(readKeptText("draft.d1")).text).toBe("b");
  });

  it("with a working copy end by storing the choice on its revision", async () => {
    const server = fakeServer({ [WORKING_COPY]: conflict(9) });
    const { saver, type, editor } = open();
    type("b");
    await saver.store();
    server.set(WORKING_COPY, ({ body }: { body: never }) => stored(body, 10));
    await saver.resolve("b and c");
    expect(editor.text).toBe("b and c");
    expect(server.bodies(WORKING_COPY).at(-1)).toMatchObject({ content: "b and c", revision: 9 });
    expect(saver.saving.overlap).toBeUndefined();
  });

  it("with a version end by a version on the other one", async () => {
    const server = fakeServer({ [VERSIONS]: conflict(null) });
    const { saver, type } = open();
    type("b");
    await expect(saver.save()).rejects.toThrow("Both changed");
    server.set(VERSIONS, ({ body }: { body: { content: string } }) =>
      makeVersion({ version_number: 4, content: body.content }),
    );
    await saver.resolve("b and c");
    expect(server.bodies(VERSIONS).at(-1)).toMatchObject({ content: "b and c", parent_version_number: 3 });
    expect(saver.saving).toMatchObject({ state: "saved", versionNumber: 4 });
  });

  it("do nothing when there is none to resolve", async () => {
    const server = fakeServer({});
    await open().saver.resolve("anything");
    expect(server.calls).toEqual([]);
  });
});

describe("changes from other windows", () => {
  const moved = makeDraft("One two three", {
    working_copy: { content: "One two three four", base_version_number: 1, revision: 5 } as never,
  });

  it("come in where nothing is typed", async () => {
    fakeServer({ "GET /drafts/d1": moved });
    const { saver, editor } = open();
    await saver.heard(5);
    expect(editor.text).toBe("One two three four");
    expect(saver.saving.state).toBe("stored");
  });

  it("are not fetched for the revision that this window stored itself", async () => {
    const server = fakeServer({ [WORKING_COPY]: ({ body }: { body: never }) => stored(body, 5) });
    const { saver, type } = open();
    type("mine");
    await saver.store();
    await saver.heard(5);
    expect(server.calls.filter((call) => call.method === "GET")).toEqual([]);
  });

  it("wait while something is typed here: the server merges it", async () => {
    const server = fakeServer({});
    const { saver, editor } = open();
    editor.text = "typing";
    await saver.heard(5);
    expect(server.calls).toEqual([]);
  });

  it("are ignored when they are older than what this window has", async () => {
    fakeServer({
      [VERSIONS]: ({ body }: { body: { content: string } }) =>
        makeVersion({ version_number: 2, content: body.content }),
      "GET /drafts/d1": makeDraft("One two three"),
    });
    const { saver, editor, type } = open();
    type("newer");
    await saver.save();
    await saver.heard(undefined);
    expect(editor.text).toBe("newer");
  });
});

describe("leaving the page", () => {
  it("stores the text with keepalive and makes a version of it", async () => {
    const server = fakeServer({
      [WORKING_COPY]: ({ body }: { body: never }) => stored(body),
      [VERSIONS]: ({ body }: { body: { content: string } }) =>
        makeVersion({ version_number: 2, content: body.content }),
    });
    const { saver, type, told: states } = open();
    type("last words");
    const before = states.length;
    saver.close();
    saver.close();
    await vi.advanceTimersByTimeAsync(0);
    expect(server.calls.map((call) => `${call.method} ${call.path}`)).toEqual([WORKING_COPY, VERSIONS]);
    expect(server.calls[0]?.keepalive).toBe(true);
    expect(states).toHaveLength(before); // the page is closed
  });

  it("keeps the text in this browser when the server is away", async () => {
    const server = fakeServer({});
    const { saver, type } = open();
    server.goOffline();
    type("last words");
    saver.close();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(JSON.parse(readKeptText("draft.d1")).text).toBe("last words");
    expect(server.calls).toEqual([]);
  });
});
