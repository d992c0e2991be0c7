import { afterEach, describe, expect, it, vi } from "vitest";
import { fakeServer, problem } from "@/test/server";
import { ApiError, api, OfflineError, setConfirmer } from "./client";
import { sendFile } from "./upload";
import { wordsFor } from "./words";

afterEach(() => setConfirmer(async () => false));

describe("a call", () => {
  it("sends JSON with the header that proves it comes from the page", async () => {
    const server = fakeServer({ "POST /chats": { id: "c1" } });
    expect(await api("POST", "/chats", { body: { title: "Bread" }, key: "k1" })).toEqual({ id: "c1" });
    const [call] = server.calls;
    expect(call?.body).toEqual({ title: "Bread" });
    expect(call?.headers.get("X-Tertulia")).toBe("1");
    expect(call?.headers.get("Content-Type")).toBe("application/json");
    expect(call?.headers.get("Idempotency-Key")).toBe("k1");
  });

  it("leaves out query values that are undefined", async () => {
    const server = fakeServer({ "GET /chats": {} });
    await api("GET", "/chats", { query: { cursor: undefined, tag: "t 1" } });
    expect([...(server.calls[0]?.query ?? [])]).toEqual([["tag", "t 1"]]);
  });

  it("is finished after the page is left, if it changes something and is small", async () => {
    const server = fakeServer({ "GET /me": {}, "PATCH /me": {} });
    await api("GET", "/me");
    await api("PATCH", "/me", { body: { name: "A" } });
    await api("PATCH", "/me", { body: { name: "A".repeat(2000) } });
    expect(server.calls.map((call) => call.keepalive)).toEqual([false, true, false]);
  });

  it("sends no content type without a body", async () => {
    const server = fakeServer({ "DELETE /chats/c1": null });
    expect(await api("DELETE", "/chats/c1", { ifMatch: '"3"' })).toBeUndefined();
    expect(server.calls[0]?.headers.has("Content-Type")).toBe(false);
    expect(server.calls[0]?.headers.get("If-Match")).toBe('"3"');
  });

  it("turns a problem document into an error with its code, text and fields", async () => {
    fakeServer({
      "POST /setup": problem(422, "invalid", "Some fields are not right.", {
        errors: [{ field: "name", message: "Too long." }],
        limit: 100,
      }),
    });
    const error = await api<ApiError>("POST", "/setup", { body: {} }).catch((caught: ApiError) => caught);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({ status: 422, code: "invalid", message: "Some fields are not right." });
    expect(error.field("name")).toBe("Too long.");
    expect(error.field("other")).toBeUndefined();
    expect(error.details.limit).toBe(100);
  });

  it("says the status when the answer is no problem document", async () => {
    vi.stubGlobal("fetch", async () => new Response("<html>Bad gateway</html>", { status: 502 }));
    await expect(api("GET", "/me")).rejects.toMatchObject({ code: "unreadable", status: 502 });
  });

  it("reports a server that cannot be reached as offline", async () => {
    fakeServer({}).goOffline();
    await expect(api("GET", "/me")).rejects.toBeInstanceOf(OfflineError);
  });

  it("passes an abort on as what it is", async () => {
    vi.stubGlobal("fetch", async () => {
      throw new DOMException("gone", "AbortError");
    });
    await expect(api("GET", "/me")).rejects.toMatchObject({ name: "AbortError" });
  });
});

describe("a sensitive call", () => {
  const needed = problem(403, "confirmation_needed", "Enter your password.");

  it("is repeated once after the password was confirmed", async () => {
    let isConfirmed = false;
    const server = fakeServer({ "POST /api-tokens": () => (isConfirmed ? { token: "t" } : needed) });
    setConfirmer(async () => {
      isConfirmed = true;
      return true;
    });
    expect(await api("POST", "/api-tokens", { body: {} })).toEqual({ token: "t" });
    expect(server.calls).toHaveLength(2);
  });

  it("fails when the person does not confirm", async () => {
    const server = fakeServer({ "POST /api-tokens": needed });
    await expect(api("POST", "/api-tokens", { body: {} })).rejects.toMatchObject({
      code: "confirmation_needed",
    });
    expect(server.calls).toHaveLength(1);
  });

  it("does not ask twice", async () => {
    const server = fakeServer({ "POST /api-tokens": needed });
    setConfirmer(async () => true);
    await expect(api("POST", "/api-tokens", { body: {} })).rejects.toMatchObject({
      code: "confirmation_needed",
    });
    expect(server.calls).toHaveLength(2);
  });
});

describe("the text for an error", () => {
  it.each([
    [new ApiError(404, "not_found", "There is no such chat."), "There is no such chat."],
    [new OfflineError(), "cannot be reached"],
    [new TypeError("x is undefined"), "Something went wrong in this page."],
    ["anything", "Something went wrong in this page."],
  ])("%s", (error, text) => {
    expect(wordsFor(error)).toContain(text);
  });
});

/** A request that the test answers itself. */
class FakeRequest {
  static last: FakeRequest;
  upload: { onprogress?: (event: object) => void } = {};
  headers: Record<string, string> = {};
  status = 0;
  responseText = "";
  onload?: () => void;
  onerror?: () => void;
  onabort?: () => void;
  body?: FormData;
  address = "";
  constructor() {
    FakeRequest.last = this;
  }
  open(_: string, address: string) {
    this.address = address;
  }
  setRequestHeader(name: string, value: string) {
    this.headers[name] = value;
  }
  send(body: FormData) {
    this.body = body;
  }
  abort() {
    this.onabort?.();
  }
  answer(status: number, body: string) {
    this.status = status;
    this.responseText = body;
    this.onload?.();
  }
}

describe("sending a file", () => {
  const start = (file: File, mostBytes?: number) => {
    vi.stubGlobal("XMLHttpRequest", FakeRequest);
    const stop = new AbortController();
    const shares: number[] = [];
    const sending = sendFile("/attachments", file, {
      onProgress: (share) => shares.push(share),
      signal: stop.signal,
      mostBytes,
    });
    sending.catch(() => undefined);
    return { sending, stop, shares };
  };
  const file = new File(["abc"], "a.txt");

  it("tells how far it is and gives the stored file", async () => {
    const { sending, shares } = start(file);
    FakeRequest.last.upload.onprogress?.({ lengthComputable: true, loaded: 1, total: 4 });
    FakeRequest.last.upload.onprogress?.({ lengthComputable: false, loaded: 2, total: 0 });
    FakeRequest.last.answer(201, '{"id":"f1"}');
    expect(await sending).toEqual({ id: "f1" });
    expect(shares).toEqual([0.25]);
    expect(FakeRequest.last.address).toBe("/api/v1/attachments");
    expect(FakeRequest.last.headers["X-Tertulia"]).toBe("1");
  });

  it.each([
    [3, true],
    [2, false],
  ])("of 3 bytes with a limit of %i is accepted: %s", async (limit, isAccepted) => {
    const { sending } = start(file, limit);
    if (!isAccepted) return expect(sending).rejects.toMatchObject({ code: "file_too_large" });
    FakeRequest.last.answer(201, "{}");
    return expect(sending).resolves.toEqual({});
  });

  it("refuses an empty file before it is sent", async () => {
    await expect(start(new File([], "empty.txt")).sending).rejects.toMatchObject({ code: "file_empty" });
  });

  it("passes the server's refusal on", async () => {
    const { sending } = start(file);
    FakeRequest.last.answer(415, '{"code":"file_type","detail":"Not that kind."}');
    await expect(sending).rejects.toMatchObject({
      status: 415,
      code: "file_type",
      message: "Not that kind.",
    });
  });

  it("says the status of an answer that is no JSON", async () => {
    const { sending } = start(file);
    FakeRequest.last.answer(502, "<html>");
    await expect(sending).rejects.toMatchObject({ code: "unreadable" });
  });

  it("ends when it is cancelled", async () => {
    const { sending, stop } = start(file);
    stop.abort();
    await expect(sending).rejects.toMatchObject({ name: "AbortError" });
  });

  it("is offline when the connection breaks", async () => {
    const { sending } = start(file);
    FakeRequest.last.onerror?.();
    await expect(sending).rejects.toBeInstanceOf(OfflineError);
  });
});
