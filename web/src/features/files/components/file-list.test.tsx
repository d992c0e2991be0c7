import { screen, waitFor, within } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import type { Schemas } from "@/api/client";
import { chooseOption, renderApp } from "@/test/render";
import { type Call, fakeServer, page, problem } from "@/test/server";
import { FileList } from "./file-list";

type File = Schemas["AttachmentRead"];

function makeFile(fields: Partial<File> = {}): File {
  return {
    id: "f1",
    file_name: "flour.pdf",
    mime_type: "application/pdf",
    file_size: 2048,
    has_thumbnail: false,
    metadata: {},
    used_in: null,
    uses: 0,
    deleted_at: null,
    created_at: "2026-11-22T12:00:00Z",
    ...fields,
  } as unknown as File;
}

/** A server that keeps deleted files in a list of their own. */
function open(stored: File[] = [makeFile()], routes: object = {}) {
  let files = stored;
  const change = (deleted_at: string | null) => () => {
    files = files.map((file) => (file.id === "f1" ? { ...file, deleted_at } : file));
    return deleted_at ? null : files[0];
  };
  const server = fakeServer({
    "GET /storage": { used_bytes: 5 * 1024 * 1024, limit_bytes: 1024 * 1024 * 1024, files: stored.length },
    "GET /attachments": ({ query }: Call) =>
      page(files.filter((file) => Boolean(file.deleted_at) === (query.get("trash") === "true"))),
    "DELETE /attachments/f1": change("2026-11-22T13:00:00Z"),
    "POST /attachments/f1/restore": change(null),
    ...routes,
  });
  return { server, ...renderApp(<FileList />) };
}

const row = async () => (await screen.findAllByRole("listitem"))[0] as HTMLElement;

describe("the files", () => {
  it("says how much is used", async () => {
    open();
    await screen.findByText(/^One file · 5\s?MB of 1\s?GB$/);
    const meter = screen.getByRole<HTMLMeterElement>("meter", { name: "Used for files" });
    expect(meter.getAttribute("value")).toBe(String(5 * 1024 * 1024));
  });

  it.each([
    ["its size", {}, "2 kB"],
    ["its pages", { metadata: { pages: 3 } }, "3 pages"],
    ["one page", { metadata: { pages: 1 } }, "1 page"],
    ["its width and height", { metadata: { dimensions: { width: 640, height: 480 } } }, "640 × 480"],
    ["its duration", { metadata: { duration: 65 } }, "1:05 min"],
    ["what is wrong with it", { metadata: { problem: "The file is damaged." } }, "The file is damaged."],
    ["that no message has it", {}, "Not used in a message"],
  ])("shows %s", async (_, fields, words) => {
    open([makeFile(fields as Partial<File>)]);
    expect((await row()).textContent).toContain(words);
  });

  it("links the message that has the file", async () => {
    open([makeFile({ used_in: { chat_id: "c1", chat_title: "Bread", message_id: "m1" } as never, uses: 3 })]);
    const link = await screen.findByRole("link", { name: "Bread" });
    expect(link.getAttribute("href")).toBe("/c/c1?m=m1");
    expect((await row()).textContent).toContain("In Bread and 2 more");
  });

  it("shows the small picture of an image and offers to download the file", async () => {
    open([makeFile({ has_thumbnail: true, mime_type: "image/png" })]);
    const picture = (await row()).querySelector("img");
    expect(picture?.getAttribute("src")).toBe("/api/v1/attachments/f1/thumbnail");
    const link = within(await row()).getByRole("link", { name: "Download flour.pdf" });
    expect(link.getAttribute("href")).toBe("/api/v1/attachments/f1/content?download=true");
  });

  it("asks for the kind and the order that are chosen", async () => {
    const { server, user } = open();
    await row();
    await chooseOption(user, "Kind", "Pictures");
    await chooseOption(user, "Order", "Largest first");
    await waitFor(() => expect(server.calls.at(-1)?.query.get("order")).toBe("largest"));
    expect(server.calls.at(-1)?.query.get("kind")).toBe("image");
    expect(server.calls.find((call) => call.path === "/attachments")?.query.get("kind")).toBeNull();
  });

  it("deletes a file and brings it back by undo", async () => {
    const { user } = open();
    await user.click(within(await row()).getByRole("button", { name: "Delete flour.pdf" }));
    await screen.findByRole("heading", { name: "No files" });
    await user.click(screen.getByRole("button", { name: "Undo" }));
    await screen.findByText("flour.pdf");
  });

  it("brings a file back from the deleted ones", async () => {
    const { user } = open([makeFile({ deleted_at: "2026-11-22T13:00:00Z", has_thumbnail: true })]);
    await user.click(await screen.findByRole("button", { name: "Deleted files" }));
    await screen.findByText("flour.pdf");
    expect(screen.queryByRole("link", { name: /Download/ })).toBeNull();
    await user.click(screen.getByRole("button", { name: "Bring flour.pdf back" }));
    await screen.findByRole("heading", { name: "No deleted files" });
    await user.click(screen.getByRole("button", { name: "Back to the files" }));
    await screen.findByText("flour.pdf");
  });

  it("says why a file was not deleted", async () => {
    const { user } = open([makeFile()], {
      "DELETE /attachments/f1": problem(503, "storage_unavailable", "The disk is full."),
    });
    await user.click(within(await row()).getByRole("button", { name: "Delete flour.pdf" }));
    await screen.findByText("The disk is full.");
    expect(screen.getByText("flour.pdf")).toBeTruthy();
  });

  it("loads more on request", async () => {
    const { user } = open([], {
      "GET /attachments": ({ query }: Call) =>
        query.get("cursor")
          ? page([makeFile({ id: "f2", file_name: "second.txt" })])
          : page([makeFile()], "next"),
    });
    await user.click(await screen.findByRole("button", { name: "Show more" }));
    await screen.findByText("second.txt");
    expect(screen.getAllByRole("listitem")).toHaveLength(2);
  });
});
