import { screen, waitFor } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import type { Schemas } from "@/api/client";
import { chooseOption, renderApp } from "@/test/render";
import { type Call, fakeServer, page, problem } from "@/test/server";
import { ShareDialog } from "./share-dialog";

type Share = Schemas["ShareRead"];
const READ = { can_read: true, can_write: false, can_share: false };

function makeShare(fields: Partial<Share> = {}): Share {
  return {
    id: "s1",
    shared_with: { id: "bob", name: "Bob" },
    permissions: READ,
    expires_at: null,
    access_count: 0,
    ...fields,
  } as Share;
}

const POST = "POST /chats/c1/shares";

/** A server that stores shares; a share without a person is a link. */
function open(stored: Share[] = [], routes: object = {}) {
  let shares = stored;
  const server = fakeServer({
    "GET /chats/c1/shares": () => page(shares),
    [POST]: ({ body }: Call) => {
      const { shared_with_username: name, permissions } = body as Schemas["ShareCreate"];
      const share = makeShare({
        id: `s${shares.length + 5}`,
        shared_with: name ? ({ id: name, name } as Share["shared_with"]) : null,
        permissions: permissions as Share["permissions"],
      });
      shares = [...shares, share];
      return { ...share, token: name ? null : "secret" };
    },
    "DELETE /shares/s1": () => {
      shares = [];
      return null;
    },
    ...routes,
  });
  const view = renderApp(
    <ShareDialog
      thing={{ kind: "chats", id: "c1" }}
      title="Share the chat"
      linkShows="Without files."
      onClose={vi.fn()}
    >
      <p>Another way</p>
    </ShareDialog>,
  );
  return { server, ...view };
}

const person = () => screen.findByRole<HTMLInputElement>("textbox", { name: "With a person" });

describe("sharing", () => {
  it("invites a person to read", async () => {
    const { server, user } = open();
    const share = await screen.findByRole<HTMLButtonElement>("button", { name: "Share" });
    expect(share.disabled).toBe(true);
    await user.type(await person(), " bob ");
    await user.click(share);
    await screen.findByText("bob");
    expect(server.bodies(POST)).toEqual([{ shared_with_username: "bob", permissions: READ }]);
    expect((await person()).value).toBe("");
  });

  it.each([
    ["May read and write", { can_read: true, can_write: true, can_share: false }],
    ["May read, write and share", { can_read: true, can_write: true, can_share: true }],
  ])("gives what “%s” says", async (label, permissions) => {
    const { server, user } = open();
    await chooseOption(user, "What they may do", label);
    await user.type(await person(), "bob{Enter}");
    await waitFor(() => expect(server.bodies(POST)).toHaveLength(1));
    expect(server.bodies(POST)[0]).toMatchObject({ permissions });
  });

  it("ends at the time that was chosen", async () => {
    const { server, user } = open();
    await chooseOption(user, "How long", "For a week");
    await user.type(await person(), "bob{Enter}");
    await waitFor(() => expect(server.bodies(POST)).toHaveLength(1));
    const { expires_at } = server.bodies(POST)[0] as { expires_at: string };
    expect((Date.parse(expires_at) - Date.now()) / 86_400_000).toBeCloseTo(7, 2);
  });

  it("keeps the name when the server refuses it, and says why", async () => {
    const { user } = open([], { [POST]: problem(404, "user_not_found", "There is no user with this name.") });
    await user.type(await person(), "bbo{Enter}");
    await screen.findByText("There is no user with this name.");
    expect((await person()).value).toBe("bbo");
  });

  it("shows a new link once, and copies it", async () => {
    const { server, user } = open();
    const written = vi.spyOn(navigator.clipboard, "writeText").mockResolvedValue();
    await user.click(await screen.findByRole("button", { name: "Make a link" }));
    const link = await screen.findByRole<HTMLInputElement>("textbox", { name: "The link, shown this once" });
    expect(link.value).toBe(`${location.origin}/shared/secret`);
    expect(server.bodies(POST)).toEqual([{ permissions: READ }]);
    await user.click(screen.getByRole("button", { name: "Copy" }));
    await screen.findByRole("button", { name: "Copied" });
    expect(written).toHaveBeenCalledWith(link.value);
  });

  it.each([
    [makeShare(), "Bobreads"],
    [makeShare({ permissions: { ...READ, can_write: true } }), "Bobreads and writes"],
    [
      makeShare({ permissions: { can_read: true, can_write: true, can_share: true } }),
      "Bobreads, writes and shares",
    ],
    [makeShare({ shared_with: null, access_count: 3 }), "Linkreads · opened 3 times"],
  ])("lists each share with what it allows", async (share, words) => {
    open([share]);
    expect((await screen.findByRole("listitem")).textContent).toBe(words);
  });

  it("ends a share", async () => {
    const { server, user } = open([makeShare()]);
    await user.click(await screen.findByRole("button", { name: "End sharing with Bob" }));
    await waitFor(() => expect(screen.queryByText("Shared now")).toBeNull());
    expect(server.calls.filter((call) => call.method === "DELETE")).toHaveLength(1);
  });

  it("says that the shares cannot be loaded, and holds other ways to share", async () => {
    open([], {
      "GET /chats/c1/shares": problem(503, "storage_unavailable", "The database does not answer."),
    });
    await screen.findByText("The database does not answer.");
    expect(screen.getByText("Another way")).toBeTruthy();
  });
});
