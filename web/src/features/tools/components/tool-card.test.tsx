import { screen, waitFor } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import type { Schemas } from "@/api/client";
import { makeCall } from "@/test/factories";
import { renderApp } from "@/test/render";
import { fakeServer, page, problem } from "@/test/server";
import { pendingQuery } from "../queries";
import { CallCard, ToolCallCard } from "./tool-card";

const APPROVE = "POST /tool-executions/t1/approve";
const DENY = "POST /tool-executions/t1/deny";
const tool = {
  key: "builtin/calculate",
  name: "calculate",
  description: "Calculate.",
  parameters: {},
  can_dry_run: false,
  changed: null,
} as unknown as Schemas["ToolRead"];

function show(call: Partial<Schemas["ToolExecutionRead"]> = {}, routes: Record<string, object | null> = {}) {
  const server = fakeServer({ "GET /tools": page([tool]), ...routes });
  const created = makeCall(call);
  return { ...renderApp(<CallCard call={created} meId="me" />), server, call: created };
}

describe("a call that waits", () => {
  it("is open, and shows the tool, its risk, the exact arguments, the cost and the reason", async () => {
    show({ risk: "high", estimated_cost: "0.09", reason: "new" });
    expect(await screen.findByText("Waits for your decision")).toBeTruthy();
    expect(screen.getByText("High risk")).toBeTruthy();
    expect(screen.getByText(/costs at most \$0\.09/)).toBeTruthy();
    expect(screen.getByText("You have not approved this tool before.")).toBeTruthy();
    expect(screen.getByText("expression")).toBeTruthy();
    expect(screen.getByText("2+2")).toBeTruthy();
  });

  it("makes hidden characters in the arguments visible", async () => {
    show({ arguments_json: '{"path":"a\\u202eb"}' });
    expect(await screen.findByText("U+202E")).toBeTruthy();
  });

  it("says what was read before the request was built", async () => {
    show({
      sources: [
        { kind: "web", names: ["example.org"], count: 1 },
        { kind: "file", names: ["a.pdf", "b.pdf"], count: 9 },
        { kind: "chat", names: ["x", "y", "z"], count: 3 },
        { kind: "person", names: ["Bob"], count: 1 },
      ],
    });
    const text = "example.org, a.pdf, b.pdf, 7 more, 3 of your chats, and messages of Bob";
    expect(await screen.findByText(text)).toBeTruthy();
  });

  it("is closed and cannot be decided by anybody but the person who asked", async () => {
    show({ requested_by: "bob" });
    const card = await screen.findByRole("button", { name: /calculate/ });
    expect(card.getAttribute("aria-expanded")).toBe("false");
    expect(screen.queryByRole("button", { name: "Approve once" })).toBeNull();
  });

  it("is approved once", async () => {
    const view = show({}, { [APPROVE]: makeCall({ status: "approved" }) });
    await view.user.click(await screen.findByRole("button", { name: "Approve once" }));
    await waitFor(() => expect(view.server.bodies(APPROVE)).toEqual([{ remember: "none" }]));
  });

  it.each([
    ["Approve for this chat", "chat"],
    ["Always approve this tool", "always"],
  ])("can be remembered: %s", async (label, remember) => {
    const view = show({}, { [APPROVE]: makeCall({ status: "approved" }) });
    await view.user.click(await screen.findByRole("button", { name: "Approve for longer" }));
    await view.user.click(await screen.findByRole("menuitem", { name: label }));
    await waitFor(() => expect(view.server.bodies(APPROVE)).toEqual([{ remember }]));
  });

  it("is refused with a note to the model", async () => {
    const view = show({}, { [DENY]: makeCall({ status: "denied" }) });
    await view.user.click(await screen.findByRole("button", { name: "Refuse" }));
    await view.user.type(screen.getByRole("textbox"), "  Use the other one. ");
    await view.user.click(screen.getByRole("button", { name: "Refuse the call" }));
    await waitFor(() => expect(view.server.bodies(DENY)).toEqual([{ note: "Use the other one." }]));
  });

  it("is refused without a note", async () => {
    const view = show({}, { [DENY]: makeCall({ status: "denied" }) });
    await view.user.click(await screen.findByRole("button", { name: "Refuse" }));
    await view.user.click(screen.getByRole("button", { name: "Refuse the call" }));
    await waitFor(() => expect(view.server.bodies(DENY)).toEqual([{}]));
  });

  it("keeps the decision open when one goes back", async () => {
    const view = show();
    await view.user.click(await screen.findByRole("button", { name: "Refuse" }));
    await view.user.click(screen.getByRole("button", { name: "Back" }));
    expect(screen.getByRole("button", { name: "Approve once" })).toBeTruthy();
    expect(view.server.bodies(DENY)).toEqual([]);
  });

  it("keeps what was typed when it is closed and opened", async () => {
    const view = show();
    await view.user.click(await screen.findByRole("button", { name: "Refuse" }));
    await view.user.type(screen.getByRole("textbox"), "Not now");
    const header = screen.getByRole("button", { name: /calculate/ });
    await view.user.click(header);
    await view.user.click(header);
    expect(screen.getByRole("textbox")).toHaveProperty("value", "Not now");
  });

  it("says what was decided elsewhere when another window was first", async () => {
    let call = makeCall();
    const server = fakeServer({
      "GET /tools": page([tool]),
      "GET /messages/m1/tool-executions": () => page([call]),
      [APPROVE]: () => {
        call = makeCall({ status: "denied" });
        return problem(409, "already_decided", "You refused it on another device.");
      },
    });
    const part = { tool_execution_id: call.id, tool_name: "calculate" };
    const { user } = renderApp(<ToolCallCard part={part} messageId="m1" meId="me" />);
    await user.click(await screen.findByRole("button", { name: "Approve once" }));
    await screen.findByText("Refused");
    expect(screen.queryByRole("button", { name: "Approve once" })).toBeNull();
    expect(server.calls.filter((item) => item.path === "/messages/m1/tool-executions")).toHaveLength(2);
  });
});

describe("editing the arguments", () => {
  const edit = async (view: ReturnType<typeof show>, json: string) => {
    await view.user.click(await screen.findByRole("button", { name: "Edit the arguments" }));
    const box = screen.getByRole("textbox", { name: "Arguments" });
    await view.user.clear(box);
    await view.user.click(box);
    await view.user.paste(json);
  };

  it("sends the edited ones", async () => {
    const view = show({}, { [APPROVE]: makeCall({ status: "approved" }) });
    await edit(view, '{"expression":"3+3"}');
    await view.user.click(screen.getByRole("button", { name: "Approve once" }));
    await waitFor(() =>
      expect(view.server.bodies(APPROVE)).toEqual([
        { remember: "none", arguments_json: '{"expression":"3+3"}' },
      ]),
    );
  });

  it("refuses what is not JSON, and keeps it in the box", async () => {
    const view = show();
    await edit(view, "{broken");
    await view.user.click(screen.getByRole("button", { name: "Approve once" }));
    expect((await screen.findByRole("alert")).textContent).toContain("not valid JSON");
    expect(screen.getByRole("textbox", { name: "Arguments" })).toHaveProperty("value", "{broken");
    expect(view.server.bodies(APPROVE)).toEqual([]);
  });

  it("can be taken back", async () => {
    const view = show({}, { [APPROVE]: makeCall({ status: "approved" }) });
    await edit(view, "{}");
    await view.user.click(screen.getByRole("button", { name: "Take the model's" }));
    await view.user.click(screen.getByRole("button", { name: "Approve once" }));
    await waitFor(() => expect(view.server.bodies(APPROVE)).toEqual([{ remember: "none" }]));
  });
});

describe("a dry run", () => {
  const able = { "GET /tools": page([{ ...tool, can_dry_run: true }]) };
  const DRY_RUN = "POST /tool-executions/t1/dry-run";

  it("says what the call would do", async () => {
    show({}, { ...able, [DRY_RUN]: { effect: "It would calculate 4." } });
    expect(await screen.findByText("It would calculate 4.")).toBeTruthy();
  });

  it("is asked again for edited arguments", async () => {
    const view = show(
      {},
      { ...able, [DRY_RUN]: ({ body }: { body: object }) => ({ effect: JSON.stringify(body) }) },
    );
    await screen.findByText("{}");
    await view.user.click(screen.getByRole("button", { name: "Edit the arguments" }));
    const box = screen.getByRole("textbox", { name: "Arguments" });
    await view.user.clear(box);
    await view.user.click(box);
    await view.user.paste('{"expression":"9"}');
    await view.user.click(screen.getByRole("button", { name: "Say what this would do" }));
    await waitFor(() =>
      expect(view.server.bodies(DRY_RUN).at(-1)).toEqual({ arguments_json: '{"expression":"9"}' }),
    );
  });
});

describe("a definition that changed", () => {
  it("shows both before one approves", async () => {
    const changed = { description: "Calculate and send.", parameters: { type: "object" } };
    show({ reason: "changed" }, { "GET /tools": page([{ ...tool, changed }]) });
    expect(await screen.findByText("Calculate.")).toBeTruthy();
    expect(screen.getByText("Calculate and send.")).toBeTruthy();
  });
});

describe("a call that is decided", () => {
  it("shows its result when it is opened", async () => {
    const view = show({
      status: "completed",
      decision: "rule",
      cost: "0",
      execution_time_ms: 1500,
      result: { kind: "text", content: "4", excerpt: "4", size_bytes: 1, is_cut: false } as never,
    });
    expect(await screen.findByText(/ran by a rule · 1\.5 s/)).toBeTruthy();
    expect(screen.queryByText("4")).toBeNull();
    await view.user.click(screen.getByRole("button", { name: /calculate/ }));
    expect(screen.getByText("4")).toBeTruthy();
  });

  it("shows the error of one that failed", async () => {
    const view = show({ status: "failed", error_message: "The server stopped while this ran." });
    await view.user.click(await screen.findByRole("button", { name: /calculate/ }));
    expect(screen.getByText("The server stopped while this ran.")).toBeTruthy();
  });

  it("shows the note of one that was refused, and no error", async () => {
    const view = show({ status: "denied", deny_note: "No.", error_message: "denied" });
    await view.user.click(await screen.findByRole("button", { name: /calculate/ }));
    expect(screen.getByText("“No.”")).toBeTruthy();
    expect(screen.queryByText("denied")).toBeNull();
  });

  it("leads to the sign-in of its server", async () => {
    const view = show({
      status: "failed",
      server: "calendar",
      error_code: "tool_server_sign_in",
      error_message: "Sign in first.",
    });
    await view.user.click(await screen.findByRole("button", { name: /calculate/ }));
    expect(screen.getByRole("link", { name: "Sign in to calendar" }).getAttribute("href")).toContain(
      "/settings/tools",
    );
  });

  it("can be stopped while it runs", async () => {
    const CANCEL = "POST /tool-executions/t1/cancel";
    const view = show({ status: "executing" }, { [CANCEL]: problem(409, "already_ended", "It has ended.") });
    await view.user.click(await screen.findByRole("button", { name: /calculate/ }));
    await view.user.click(screen.getByRole("button", { name: "Stop it" }));
    expect(await screen.findByText("It has ended.")).toBeTruthy();
  });
});

describe("the card in a message", () => {
  const part = { tool_execution_id: "t1", tool_name: "calculate" };
  const CALLS = "GET /messages/m1/tool-executions";

  it("shows the call that the part names", async () => {
    fakeServer({ "GET /tools": page([tool]), [CALLS]: page([makeCall({ id: "other" }), makeCall()]) });
    renderApp(<ToolCallCard part={part} messageId="m1" meId="me" />);
    expect(await screen.findByRole("button", { name: "Approve once" })).toBeTruthy();
  });

  it("says so when the call is not recorded here", async () => {
    fakeServer({ [CALLS]: page([]) });
    renderApp(<ToolCallCard part={part} messageId="m1" meId="me" />);
    expect(await screen.findByText("What it did is not recorded here")).toBeTruthy();
  });

  it("says so when it cannot be loaded", async () => {
    fakeServer({ [CALLS]: problem(503, "storage_unavailable", "Not now.") });
    renderApp(<ToolCallCard part={part} messageId="m1" meId="me" />);
    expect(await screen.findByText("cannot be shown now")).toBeTruthy();
  });

  it("follows the decision at once, in the message and in the list of what waits", async () => {
    const server = fakeServer({
      "GET /tools": page([tool]),
      [CALLS]: page([makeCall()]),
      [DENY]: makeCall({ status: "denied", updated_at: "2026-11-22T12:00:01Z" }),
    });
    const view = renderApp(<ToolCallCard part={part} messageId="m1" meId="me" />);
    view.client.setQueryData(pendingQuery.queryKey, [makeCall()] as never);
    await view.user.click(await screen.findByRole("button", { name: "Refuse" }));
    await view.user.click(screen.getByRole("button", { name: "Refuse the call" }));
    expect(await screen.findByText("Refused")).toBeTruthy();
    expect(view.client.getQueryData(pendingQuery.queryKey)).toEqual([]);
    expect(server.bodies(DENY)).toHaveLength(1);
  });
});
