import type { components } from "./generated/schema";

export type Schemas = components["schemas"];
export type Problem = Schemas["Problem"];

/** An error answer of the server. `code` is stable, `message` is for people. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly fieldErrors: { field: string; message: string }[] = [],
    /** The whole problem document. */
    readonly details: Readonly<Record<string, unknown>> = {},
  ) {
    super(message);
  }

  field(name: string): string | undefined {
    return this.fieldErrors.find((error) => error.field === name)?.message;
  }
}

/** The server could not be reached. */
export class OfflineError extends Error {
  constructor() {
    super("The server cannot be reached. What you typed is kept; try again when you are back.");
  }
}

type Options = {
  body?: unknown;
  query?: Record<string, string | undefined>;
  key?: string;
  ifMatch?: string;
  /** The call continues after the page is left. Small commands always do. */
  keepalive?: boolean;
  signal?: AbortSignal;
};

const SMALL = 2000; // characters

/** Ask for the password and return whether it was entered and is right. The shell sets this once. */
let confirm: () => Promise<boolean> = async () => false;
export function setConfirmer(ask: () => Promise<boolean>): void {
  confirm = ask;
}

/** Call the server. A sensitive call asks for the password once and then continues. */
export async function api<T>(method: string, path: string, options: Options = {}): Promise<T> {
  try {
    return await call<T>(method, path, options);
  } catch (error) {
    const isAsked = error instanceof ApiError && error.code === "confirmation_needed";
    if (!isAsked || !(await confirm())) throw error;
    return await call<T>(method, path, options);
  }
}

async function call<T>(method: string, path: string, options: Options): Promise<T> {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(options.query ?? {}))
    if (value !== undefined) query.set(name, value);
  const headers: Record<string, string> = { "X-Tertulia": "1" };
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  if (options.key) headers["Idempotency-Key"] = options.key;
  if (options.ifMatch) headers["If-Match"] = options.ifMatch;
  const body = options.body === undefined ? undefined : JSON.stringify(options.body);
  // What is done just before the page is left is done. Browsers take 64 kB of such calls at a time.
  const isSmall = method !== "GET" && (body?.length ?? 0) < SMALL;
  let response: Response;
  try {
    response = await fetch(`/api/v1${path}${query.size ? `?${query}` : ""}`, {
      method,
      headers,
      body,
      signal: options.signal,
      keepalive: options.keepalive ?? isSmall,
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new OfflineError();
  }
  const text = await response.text();
  if (response.ok) return (text ? JSON.parse(text) : undefined) as T;
  throw readProblem(response.status, text);
}

function readProblem(status: number, text: string): ApiError {
  try {
    const problem = JSON.parse(text) as Problem;
    return new ApiError(status, problem.code, problem.detail, problem.errors ?? [], { ...problem });
  } catch {
    return new ApiError(
      status,
      "unreadable",
      `The server answered with status ${status}. Try again in a moment.`,
    );
  }
}
