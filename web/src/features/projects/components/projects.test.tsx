import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import { DRAGGED_CHAT } from "@/lib/dragged";
import { makeChannel, makeChat, makeProject } from "@/test/factories";
import { chooseEntry, chooseOption, renderApp } from "@/test/render";
import { type Call, fakeServer, problem } from "@/test/server";
import type { Member, Project } from "../queries";
import { MoveDialog } from "./move-dialog";
import { ProjectLinks } from "./project-links";
import { ProjectList } from "./project-list";
import { ProjectView } from "./project-view";

const ADA: Member = {
  user_id: "u1",
  username: "ada",
  name: "Ada",
  role: "owner",
  created_at: "2026-11-01T00:00:00Z",
};
const BOB: Member = { ...ADA, user_id: "u2", username: "bob", name: "Bob", role: "member" };
const page = (items: unknown[]) => ({ items, next_cursor: null });

function open(
  project: Project,
  { members = [ADA], chats = [] as unknown[], meId = "u1", channels = [makeChannel()] } = {},
) {
  const server = fakeServer({
    "GET /projects/p1": project,
    "GET /projects/p1/members": page(members),
    "GET /chats": page(chats),
    "GET /projects": page([project]),
    "GET /channels": { items: channels },
  });
  const onLeft = vi.fn();
  const view = (
    <ProjectView
      projectId="p1"
      meId={meId}
      modelChoice={() => <p>Model</p>}
      costs={<p>Costs of everyone</p>}
      invitations={<p>Links into the project</p>}
      onLeft={onLeft}
    />
  );
  return { server, onLeft, ...renderApp(view) };
}

describe("a project", () => {
  it("of one person is a folder without channels", async () => {
    open(makeProject(), { chats: [makeChat({ id: "c1", title: "Tomatoes", project_id: "p1" })] });
    await screen.findByRole("link", { name: "Tomatoes" });
    expect(screen.queryByText("Channels")).toBeNull();
    expect(screen.getByRole("link", { name: "New chat" }).getAttribute("href")).toBe("/?project=p1");
  });

  it("of several shows channels, and which chats are open", async () => {
    open(makeProject({ member_count: 2 }), {
      members: [ADA, BOB],
      chats: [
        makeChat({ id: "c1", title: "Plan", is_open_to_project: true }),
        makeChat({ id: "c2", title: "Diary" }),
      ],
    });
    await screen.findByRole("link", { name: "general" });
    expect(await screen.findAllByRole("img", { name: "Open to the members" })).toHaveLength(1);
    expect(screen.getAllByRole("img", { name: "Only for you" })).toHaveLength(1);
  });

  it("shows a viewer the instructions, and nothing to change", async () => {
    open(makeProject({ role: "viewer", member_count: 2, instructions: "Speak of gardens." }), {
      members: [ADA, { ...BOB, role: "viewer" }],
      meId: "u2",
    });
    await screen.findByText("Speak of gardens.");
    expect(screen.queryByRole("link", { name: "New chat" })).toBeNull();
    expect(screen.queryByRole("button", { name: "Save" })).toBeNull();
    expect(screen.queryByLabelText("User name")).toBeNull();
  });

  it("that one does not belong to says where to go", async () => {
    const { server } = open(makeProject());
    server.set("GET /projects/p1", problem(404, "project_not_found", "This does not exist."));
    await screen.findByRole("link", { name: "To your projects" });
  });

  it("saves its settings, and keeps what was typed when they are refused", async () => {
    const { server, user } = open(makeProject());
    server.set("PATCH /projects/p1", problem(503, "storage_unavailable", "Try again in a moment."));
    await user.type(await screen.findByLabelText("Instructions"), "Be brief.");
    await user.click(screen.getByRole("button", { name: "Save" }));
    await screen.findByText("Try again in a moment.");
    expect(screen.getByLabelText<HTMLTextAreaElement>("Instructions").value).toBe("Be brief.");
    server.set(
      "PATCH /projects/p1",
      makeProject({ instructions: "Be brief.", updated_at: "2026-11-02T00:00:00Z" }),
    );
    await user.click(screen.getByRole("button", { name: "Save" }));
    await screen.findByText("Saved.");
    expect(server.bodies("PATCH /projects/p1").at(-1)).toEqual({
      name: "Garden",
      description: null,
      instructions: "Be brief.",
    });
  });

  it("is deleted, which can be undone", async () => {
    const { server, user, onLeft } = open(makeProject());
    server.set("DELETE /projects/p1", null);
    server.set("POST /projects/p1/restore", makeProject());
    await user.click(await screen.findByRole("button", { name: "Delete" }));
    await user.click(await screen.findByRole("button", { name: "Undo" }));
    await waitFor(() => expect(server.bodies("POST /projects/p1/restore")).toHaveLength(1));
    expect(onLeft).toHaveBeenCalled();
  });
});

describe("the people of a project", () => {
  it("are added by name, with what was typed kept when it is unknown", async () => {
    const { server, user } = open(makeProject());
    server.set(
      "POST /projects/p1/members",
      problem(422, "member_unknown", "There is no user with this name."),
    );
    await user.type(await screen.findByLabelText("User name"), "bop");
    await user.click(screen.getByRole("button", { name: "Add" }));
    await screen.findByText("There is no user with this name.");
    expect(screen.getByLabelText<HTMLInputElement>("User name").value).toBe("bop");
    server.set("POST /projects/p1/members", { status: 201, body: BOB });
    await user.clear(screen.getByLabelText("User name"));
    await user.type(screen.getByLabelText("User name"), "bob");
    await chooseOption(user, "Role", "Viewer Only reads");
    await user.click(screen.getByRole("button", { name: "Add" }));
    await waitFor(() => expect(screen.getByLabelText<HTMLInputElement>("User name").value).toBe(""));
    expect(server.bodies("POST /projects/p1/members").at(-1)).toEqual({ username: "bob", role: "viewer" });
  });

  it("get roles, and are removed, by the owner", async () => {
    const { server, user } = open(makeProject({ member_count: 2 }), { members: [ADA, BOB] });
    server.set("PATCH /projects/p1/members/u2", (call: Call) => ({ ...BOB, ...(call.body as object) }));
    server.set("DELETE /projects/p1/members/u2", null);
    await chooseEntry(user, "What to do with Bob", "Let them only read");
    await chooseEntry(user, "What to do with Bob", "Make the owner");
    await chooseEntry(user, "What to do with Bob", "Remove");
    await screen.findByText("Bob has left. What they wrote stays.");
    expect(server.bodies("PATCH /projects/p1/members/u2")).toEqual([{ role: "viewer" }, { role: "owner" }]);
  });

  it("leave by themselves", async () => {
    const { server, user, onLeft } = open(makeProject({ role: "member", member_count: 2 }), {
      members: [ADA, BOB],
      meId: "u2",
    });
    server.set("DELETE /projects/p1/members/u2", null);
    await chooseEntry(user, "What to do with Bob", "Leave the project");
    await waitFor(() => expect(onLeft).toHaveBeenCalled());
    expect(screen.queryByRole("button", { name: "What to do with Ada" })).toBeNull();
  });
});

describe("moving a chat", () => {
  const chat = makeChat({ id: "c1" });
  function ask(projects: Project[], fields = {}) {
    const server = fakeServer({
      "GET /projects": page(projects),
      "PUT /projects/p1/chats/c1": { ...chat, project_id: "p1" },
      "DELETE /projects/p1/chats/c1": chat,
    });
    const onMoved = vi.fn();
    const view = <MoveDialog chat={{ ...chat, ...fields }} onMoved={onMoved} onClose={() => undefined} />;
    return { server, onMoved, ...renderApp(view) };
  }

  it("asks whether the others may read it", async () => {
    const { server, onMoved, user } = ask([makeProject({ member_count: 3 })]);
    await chooseOption(user, "Project", "Garden");
    await user.click(await screen.findByRole("checkbox", { name: "Open to the 2 other members" }));
    await user.click(screen.getByRole("button", { name: "Move" }));
    await screen.findByText("Moved to Garden.");
    expect(server.bodies("PUT /projects/p1/chats/c1")).toEqual([{ is_open_to_project: true }]);
    expect(onMoved).toHaveBeenCalledWith({ ...chat, project_id: "p1" });
  });

  it("out of a project is possible", async () => {
    const { user } = ask([makeProject()], { project_id: "p1" });
    expect(screen.queryByRole("checkbox")).toBeNull();
    await chooseOption(user, "Project", "No project");
    await user.click(screen.getByRole("button", { name: "Move" }));
    await screen.findByText("Taken out of the project.");
  });

  it("works by dragging it onto the project", async () => {
    const server = fakeServer({
      "GET /projects": page([makeProject()]),
      "PUT /projects/p1/chats/c1": { ...chat, project_id: "p1" },
    });
    renderApp(<ProjectLinks />);
    const row = (await screen.findByRole("link", { name: "Garden" })).closest("li") as HTMLElement;
    const dataTransfer = { types: [DRAGGED_CHAT], getData: () => "c1" };
    expect(fireEvent.dragOver(row, { dataTransfer })).toBe(false); // it may be dropped here
    fireEvent.drop(row, { dataTransfer });
    await screen.findByText("Moved to Garden.");
    expect(server.bodies("PUT /projects/p1/chats/c1")).toEqual([{ is_open_to_project: false }]);
  });
});

describe("the projects", () => {
  it("are listed by status, and come back from archive and trash", async () => {
    const server = fakeServer({
      "GET /projects": (call: Call) => {
        const status = call.query.get("status");
        if (status === "archived") return page([makeProject({ id: "p2", name: "Old", status: "archived" })]);
        if (status === "deleted") return page([makeProject({ id: "p3", name: "Gone", status: "deleted" })]);
        return page([makeProject({ member_count: 2, role: "member", owner: { id: "u9", name: "Eve" } })]);
      },
      "PATCH /projects/p2": makeProject({ id: "p2" }),
      "POST /projects/p3/restore": makeProject({ id: "p3" }),
    });
    const { user } = renderApp(<ProjectList onOpen={() => undefined} />);
    const row = (await screen.findByRole("link", { name: "Garden" })).closest("li") as HTMLElement;
    within(row).getByText("of Eve");
    await user.click(await screen.findByRole("button", { name: "Take out of archive" }));
    await user.click(await screen.findByRole("button", { name: "Restore" }));
    await waitFor(() => expect(server.bodies("POST /projects/p3/restore")).toHaveLength(1));
    expect(server.bodies("PATCH /projects/p2")).toEqual([{ is_archived: false }]);
  });

  it("are created with a name, which stays when it is refused", async () => {
    const server = fakeServer({
      "GET /projects": page([]),
      "POST /projects": problem(409, "too_many_projects", "You can own at most 200 projects."),
    });
    const onOpen = vi.fn();
    const { user } = renderApp(<ProjectList onOpen={onOpen} />);
    await user.click(await screen.findByRole("button", { name: "New project" }));
    await user.type(await screen.findByLabelText("Name"), "Garden");
    await user.click(screen.getByRole("button", { name: "Create" }));
    await screen.findByText("You can own at most 200 projects.");
    expect(screen.getByLabelText<HTMLInputElement>("Name").value).toBe("Garden");
    server.set("POST /projects", { status: 201, body: makeProject() });
    await user.click(screen.getByRole("button", { name: "Create" }));
    await waitFor(() => expect(onOpen).toHaveBeenCalledWith("p1"));
  });
});
