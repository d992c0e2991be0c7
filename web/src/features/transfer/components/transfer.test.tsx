import { act, screen, waitFor } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import type { Schemas } from "@/api/client";
import { renderApp } from "@/test/render";
import { fakeServer, fakeUploads, problem } from "@/test/server";
import { Transfer } from "./transfer";

type Job = Schemas["ImportJobRead"];

function makeJob(fields: Partial<Job> = {}, report: object = {}): Job {
  return {
    id: "i1",
    file_name: "export.zip",
    source: "chatgpt",
    size_bytes: 2048,
    done_bytes: 1024,
    status: "completed",
    error: null,
    created_at: "2026-11-22T12:00:00Z",
    report: {
      chats: 2,
      messages: 10,
      drafts: 0,
      files: 0,
      already_there: 0,
      refused: 0,
      problems: [],
      ...report,
    },
    ...fields,
  } as Job;
}

function open(stored: Job[] = [], routes: object = {}) {
  let jobs = stored;
  const set = (status: Job["status"]) => () => {
    jobs = jobs.map((job) => ({ ...job, status }));
    return jobs[0];
  };
  const uploads = fakeUploads();
  const server = fakeServer({
    "GET /imports": () => ({ items: jobs }),
    "POST /imports/i1/cancel": set("cancelled"),
    "POST /imports/i1/undo": set("undone"),
    ...routes,
  });
  const add = (job: Job) => {
    jobs = [job, ...jobs];
  };
  return { server, uploads, add, ...renderApp(<Transfer />) };
}

const FILE = new File(["{}"], "export.zip", { type: "application/zip" });
const picker = () => screen.findByTestId<HTMLInputElement>("import-picker");

describe("an import", () => {
  it("shows how far the file is, and then the new import", async () => {
    const { user, uploads, add } = open();
    await user.upload(await picker(), FILE);
    const bar = await screen.findByRole<HTMLProgressElement>("progressbar", {
      name: "export.zip is being sent",
    });
    expect(uploads[0]?.path).toBe("/imports");
    act(() => uploads[0]?.progress(0.5));
    expect(bar.value).toBe(0.5);
    expect(screen.getByRole<HTMLButtonElement>("button", { name: /Choose a file/ }).disabled).toBe(true);
    add(makeJob());
    act(() => uploads[0]?.answer(201, makeJob()));
    await screen.findByText("2 chats with 10 messages taken.");
    expect(screen.queryByRole("progressbar")).toBeNull();
  });

  it("is cancelled while it is sent, without an error", async () => {
    const { user, uploads } = open();
    await user.upload(await picker(), FILE);
    await user.click(await screen.findByRole("button", { name: "Cancel" }));
    await waitFor(() => expect(screen.queryByRole("progressbar")).toBeNull());
    expect(uploads[0]?.isAborted).toBe(true);
    expect(screen.queryByRole("alert")).toBeNull();
  });

  it("says why the server refused the file", async () => {
    const { user, uploads } = open();
    await user.upload(await picker(), FILE);
    await waitFor(() => expect(uploads).toHaveLength(1));
    act(() => uploads[0]?.answer(422, { code: "invalid", detail: "This is not an export that is known." }));
    await screen.findByText("This is not an export that is known.");
  });

  it("refuses an empty file before it is sent", async () => {
    const { user, uploads } = open();
    await user.upload(await picker(), new File([], "empty.zip"));
    await screen.findByText("empty.zip is empty.");
    expect(uploads).toEqual([]);
  });
});

describe("the list of imports", () => {
  it.each([
    ["queued", {}, {}, "waits"],
    ["running", {}, {}, "being imported"],
    ["completed", {}, {}, "done"],
    ["cancelled", {}, {}, "stopped"],
    ["failed", { error: "The archive is damaged." }, { chats: 0 }, "The archive is damaged."],
    ["undone", {}, {}, "Its chats are deleted"],
    [
      "completed",
      {},
      { drafts: 1, files: 3, already_there: 4, refused: 5 },
      "1 drafts, 3 files, 4 were there already, 5 could not be taken.",
    ],
    ["completed", { source: "openwebui" as const }, {}, "Open WebUI"],
    ["completed", {}, { problems: ["A picture was missing."] }, "A picture was missing."],
  ] as const)("shows that one is %s", async (status, fields, report, words) => {
    open([makeJob({ status, ...fields } as Partial<Job>, report)]);
    const row = await screen
      .findByRole("listitem", { name: "" })
      .catch(() => screen.findAllByRole("listitem").then(([first]) => first));
    expect(row?.textContent).toContain(words);
  });

  it("stops one that is running", async () => {
    const { user } = open([makeJob({ status: "running" })]);
    const bar = await screen.findByRole<HTMLProgressElement>("progressbar", {
      name: "export.zip is being imported",
    });
    expect(bar.value).toBe(0.5);
    await user.click(screen.getByRole("button", { name: "Stop" }));
    await screen.findByText("stopped");
    expect(screen.queryByRole("progressbar")).toBeNull();
  });

  it("undoes one that created chats, and offers nothing for one that did not", async () => {
    const { user } = open([makeJob()]);
    await user.click(await screen.findByRole("button", { name: "Undo" }));
    await screen.findByText("undone");
    expect(screen.queryByRole("button", { name: "Undo" })).toBeNull();
  });
});

describe("the export", () => {
  it("begins a download after the sign-in was confirmed", async () => {
    const assign = vi.fn();
    vi.stubGlobal("location", { ...window.location, assign });
    const { user } = open([], { "POST /export/confirm": null });
    await user.click(await screen.findByRole("button", { name: "Export" }));
    await waitFor(() => expect(assign).toHaveBeenCalledWith("/api/v1/export"));
  });

  it("says why it is refused, and begins nothing", async () => {
    const assign = vi.fn();
    vi.stubGlobal("location", { ...window.location, assign });
    const { user } = open([], {
      "POST /export/confirm": problem(429, "too_many_requests", "Try again in a minute."),
    });
    await user.click(await screen.findByRole("button", { name: "Export" }));
    await screen.findByText("Try again in a minute.");
    expect(assign).not.toHaveBeenCalled();
  });
});
