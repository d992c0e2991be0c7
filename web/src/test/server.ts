import { afterEach, expect, vi } from "vitest";

type Answer = { status?: number; body?: unknown } | ((call: Call) => unknown);
export type Call = {
  method: string;
  path: string;
  query: URLSearchParams;
  body: unknown;
  headers: Headers;
  keepalive: boolean;
};

/** Return a problem document as the server sends it. */
export function problem(status: number, code: string, detail: string, more: object = {}) {
  return { status, body: { type: "about:blank", title: code, status, code, detail, ...more } };
}

let unanswered: string[] = [];
afterEach(() => {
  const calls = unanswered;
  unanswered = [];
  expect(calls, "calls that the fake server does not know").toEqual([]);
});

/**
 * Answer the page's calls to /api/v1. A call without a route fails the test, so that no request goes unnoticed.
 *
 * Routes are `"GET /chats/c1"`: a body, `{status, body}`, or a function of the call.
 */
export function fakeServer(routes: Record<string, Answer | object | null>) {
  const calls: Call[] = [];
  const state = { isOffline: false };
  vi.stubGlobal("fetch", async (address: string, init: RequestInit = {}) => {
    if (state.isOffline) throw new TypeError("Failed to fetch");
    const url = new URL(address, "http://localhost");
    const call: Call = {
      method: init.method ?? "GET",
      path: url.pathname.replace("/api/v1", ""),
      query: url.searchParams,
      body: typeof init.body === "string" ? JSON.parse(init.body) : undefined,
      headers: new Headers(init.headers),
      keepalive: init.keepalive ?? false,
    };
    calls.push(call);
    const name = `${call.method} ${call.path}`;
    if (!(name in routes)) {
      unanswered.push(name);
      return respond({ ...problem(404, "not_found", "There is no such thing here.") });
    }
    const route = routes[name];
    return respond(typeof route === "function" ? await (route as (call: Call) => unknown)(call) : route);
  });
  return {
    calls,
    /** The bodies that were sent to a route, in order. */
    bodies: (name: string) =>
      calls.filter((call) => `${call.method} ${call.path}` === name).map((call) => call.body),
    set: (name: string, answer: Answer | object | null) => {
      routes[name] = answer;
    },
    goOffline: (isOffline = true) => {
      state.isOffline = isOffline;
    },
  };
}

function respond(answer: unknown): Response {
  const isExplicit = typeof answer === "object" && answer !== null && "status" in answer && "body" in answer;
  const { status, body } = isExplicit
    ? (answer as { status: number; body: unknown })
    : { status: 200, body: answer };
  const hasBody = body !== undefined && body !== null;
  return new Response(hasBody ? JSON.stringify(body) : null, { status: hasBody ? status : 204 });
}

export const page = <T>(items: T[], next_cursor: string | null = null) => ({ items, next_cursor });

/** An upload that the page has started. The test decides its progress and result. */
export type Upload = {
  path: string;
  file: File;
  isAborted: boolean;
  progress: (share: number) => void;
  answer: (status: number, body: unknown) => void;
  fail: () => void;
};

/** Replace XMLHttpRequest, which sends files. */
export function fakeUploads(): Upload[] {
  const uploads: Upload[] = [];
  vi.stubGlobal(
    "XMLHttpRequest",
    class {
      path = "";
      status = 0;
      responseText = "";
      upload: { onprogress?: (event: object) => void } = {};
      onload = () => {};
      onerror = () => {};
      onabort = () => {};
      current: Upload | undefined;
      open(_: string, address: string) {
        this.path = address.replace("/api/v1", "");
      }
      setRequestHeader() {}
      abort() {
        if (this.current) this.current.isAborted = true;
        this.onabort();
      }
      send(form: FormData) {
        const file = form.get("file") as File;
        this.current = {
          path: this.path,
          file,
          isAborted: false,
          progress: (share) =>
            this.upload.onprogress?.({ lengthComputable: true, loaded: share * file.size, total: file.size }),
          answer: (status, body) => {
            this.status = status;
            this.responseText = typeof body === "string" ? body : JSON.stringify(body);
            this.onload();
          },
          fail: () => this.onerror(),
        };
        uploads.push(this.current);
      }
    },
  );
  return uploads;
}
