import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Lock, MoreHorizontal, Users } from "lucide-react";
import { type ReactNode, useState } from "react";
import { ApiError } from "@/api/client";
import { wordsFor, wordsForField } from "@/api/words";
import { relativeTime } from "@/lib/dates";
import { Button, IconButton } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Field, TextField } from "@/ui/field";
import { Menu } from "@/ui/menu";
import { Problem } from "@/ui/problem";
import { Badge, Row, Rows, Section } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import {
  addMember,
  deleteProject,
  type Member,
  membersQuery,
  type Project,
  projectChatsQuery,
  projectQuery,
  removeMember,
  restoreProject,
  updateMember,
  updateProject,
} from "../queries";

import { Channels } from "./channels";

type Props = {
  projectId: string;
  meId: string;
  modelChoice: (value: string | null, choose: (model: string | null) => void) => ReactNode;
  costs: ReactNode; // shown to the owner, as are invitations
  invitations: ReactNode;
  onLeft: () => void; // after it was deleted, or left
};

/** A project: its channels and chats, its people, and its settings. */
export function ProjectView({ projectId, meId, modelChoice, costs, invitations, onLeft }: Props) {
  const project = useQuery(projectQuery(projectId));
  if (project.isPending) return <Lines widths={["w-1/3", "w-full", "w-2/3"]} />;
  if (project.error) {
    const isGone = project.error instanceof ApiError && project.error.status === 404;
    if (!isGone) return <Failed words={wordsFor(project.error)} onRetry={() => void project.refetch()} />;
    return (
      <div className="flex flex-col items-start gap-3">
        <p>This project does not exist any more, or you do not belong to it.</p>
        <Link to="/projects" className="text-accent underline">
          To your projects
        </Link>
      </div>
    );
  }
  const { data } = project;
  const isOwner = data.role === "owner";
  return (
    <div className="flex flex-col gap-10">
      {(data.description || data.status !== "active") && (
        <div className="flex flex-wrap items-center gap-2">
          {data.status === "archived" && <Badge>Archived</Badge>}
          {data.status === "deleted" && <Badge tone="danger">In the trash</Badge>}
          {data.description && <p className="text-md text-text-muted">{data.description}</p>}
        </div>
      )}
      <Chats project={data} />
      {data.member_count > 1 && <Channels project={data} />}
      <Members project={data} meId={meId} onLeft={onLeft} />
      {isOwner && data.status === "active" && invitations}
      {isOwner ? (
        <>
          <Settings key={data.updated_at} project={data} modelChoice={modelChoice} onLeft={onLeft} />
          <Section title="Costs" hint="What everyone together uses in this project, and may use.">
            {costs}
          </Section>
        </>
      ) : (
        data.instructions && (
          <Section title="Instructions" hint="Models read them before each chat of the project.">
            <p className="whitespace-pre-wrap rounded-card bg-surface-quiet p-3">{data.instructions}</p>
          </Section>
        )
      )}
    </div>
  );
}

function Chats({ project }: { project: Project }) {
  const chats = useInfiniteQuery(projectChatsQuery(project.id));
  const items = chats.data?.pages.flatMap((page) => page.items) ?? [];
  const icon = { size: 16, strokeWidth: 1.5, className: "shrink-0 text-text-muted" } as const;
  const mayWrite = project.role !== "viewer" && project.status === "active";
  return (
    <Section
      title="Chats"
      hint={project.member_count > 1 ? "Your own, and those that others opened to everyone here." : undefined}
      action={
        mayWrite && (
          <Link
            to="/"
            search={{ project: project.id }}
            className="inline-flex min-h-9 items-center rounded-control bg-accent px-3 font-medium text-on-accent pointer-coarse:min-h-11"
          >
            New chat
          </Link>
        )
      }
    >
      {chats.isPending ? (
        <Lines widths={["w-1/2", "w-2/3"]} />
      ) : chats.error ? (
        <Failed words={wordsFor(chats.error)} onRetry={() => void chats.refetch()} />
      ) : items.length === 0 ? (
        <p className="text-text-muted">
          No chats yet. Begin one here, or move one here with its menu, or by dragging it onto the project.
        </p>
      ) : (
        <Rows>
          {items.map((chat) => (
            <Row key={chat.id}>
              <p className="flex min-w-0 items-center gap-2">
                {project.member_count > 1 &&
                  (chat.is_open_to_project ? (
                    <Users {...icon} role="img" aria-label="Open to the members" />
                  ) : (
                    <Lock {...icon} role="img" aria-label="Only for you" />
                  ))}
                <Link
                  to="/c/$chatId"
                  params={{ chatId: chat.id }}
                  className="min-w-0 truncate hover:underline"
                >
                  {chat.title}
                </Link>
              </p>
              <p className="truncate text-sm text-text-muted">
                {[chat.owner?.name, relativeTime(chat.last_message_at)].filter(Boolean).join(" · ")}
              </p>
            </Row>
          ))}
        </Rows>
      )}
      {chats.hasNextPage && (
        <Button
          look="plain"
          className="self-start"
          disabled={chats.isFetchingNextPage}
          onClick={() => void chats.fetchNextPage()}
        >
          Show more
        </Button>
      )}
    </Section>
  );
}

const ROLES: Record<Member["role"], string> = { owner: "Owner", member: "Member", viewer: "Viewer" };

function Members({ project, meId, onLeft }: { project: Project; meId: string; onLeft: () => void }) {
  const client = useQueryClient();
  const { say } = useToast();
  const members = useInfiniteQuery(membersQuery(project.id));
  const items = members.data?.pages.flatMap((page) => page.items) ?? [];
  const isOwner = project.role === "owner";
  const refresh = () => client.invalidateQueries({ queryKey: ["project", project.id] });
  const changing = useMutation({
    mutationFn: ({ userId, role }: { userId: string; role: Member["role"] }) =>
      updateMember(project.id, userId, role),
    onError: (error) => say(wordsFor(error)),
    onSettled: refresh,
  });
  const removing = useMutation({
    mutationFn: (member: Member) => removeMember(project.id, member.user_id),
    onSuccess: (_, member) => {
      if (member.user_id === meId) onLeft();
      else say(`${member.name} has left. What they wrote stays.`);
    },
    onError: (error) => say(wordsFor(error)),
    onSettled: refresh,
  });
  const entries = (member: Member) => [
    ...(isOwner
      ? [
          member.role === "viewer"
            ? {
                label: "Let them write",
                onChoose: () => changing.mutate({ userId: member.user_id, role: "member" }),
              }
            : {
                label: "Let them only read",
                onChoose: () => changing.mutate({ userId: member.user_id, role: "viewer" }),
              },
          {
            label: "Make the owner",
            onChoose: () => changing.mutate({ userId: member.user_id, role: "owner" }),
          },
        ]
      : []),
    {
      label: member.user_id === meId ? "Leave the project" : "Remove",
      isDangerous: true,
      onChoose: () => removing.mutate(member),
    },
  ];
  return (
    <Section title="People" hint="Members read and write what is open to the project. Viewers read.">
      {isOwner && project.status === "active" && <AddMember project={project} onAdded={refresh} />}
      {members.error ? (
        <Failed words={wordsFor(members.error)} onRetry={() => void members.refetch()} />
      ) : (
        <Rows>
          {items.map((member) => (
            <Row
              key={member.user_id}
              actions={
                member.role !== "owner" &&
                (isOwner || member.user_id === meId) && (
                  <Menu
                    trigger={
                      <IconButton label={`What to do with ${member.name}`}>
                        <MoreHorizontal size={18} strokeWidth={1.5} aria-hidden />
                      </IconButton>
                    }
                    entries={entries(member)}
                  />
                )
              }
            >
              <p className="flex flex-wrap items-center gap-2">
                {member.name}
                {member.user_id === meId && <Badge>You</Badge>}
                <Badge tone={member.role === "owner" ? "accent" : "quiet"}>{ROLES[member.role]}</Badge>
              </p>
              <p className="text-sm text-text-muted">{member.username}</p>
            </Row>
          ))}
        </Rows>
      )}
      {members.hasNextPage && (
        <Button look="plain" className="self-start" onClick={() => void members.fetchNextPage()}>
          Show more
        </Button>
      )}
    </Section>
  );
}

function AddMember({ project, onAdded }: { project: Project; onAdded: () => void }) {
  const [username, setUsername] = useState("");
  const [role, setRole] = useState<Member["role"]>("member");
  const adding = useMutation({
    mutationFn: () => addMember(project.id, { username: username.trim(), role }),
    onSuccess: () => {
      setUsername("");
      onAdded();
    },
  });
  return (
    <form
      className="flex flex-wrap items-end gap-2"
      onSubmit={(event) => {
        event.preventDefault();
        adding.mutate();
      }}
    >
      <Field
        label="User name"
        className="min-w-40 flex-1"
        autoCapitalize="none"
        value={username}
        error={adding.error ? wordsFor(adding.error) : undefined}
        onChange={(event) => setUsername(event.target.value)}
      />
      <Choice
        label="Role"
        value={role}
        options={[
          { value: "member", label: "Member" },
          { value: "viewer", label: "Viewer", note: "Only reads" },
        ]}
        onChoose={(chosen) => setRole(chosen as Member["role"])}
      />
      <Button type="submit" disabled={!username.trim() || adding.isPending}>
        Add
      </Button>
    </form>
  );
}

function Settings({
  project,
  modelChoice,
  onLeft,
}: {
  project: Project;
  modelChoice: Props["modelChoice"];
  onLeft: () => void;
}) {
  const client = useQueryClient();
  const { say, offerUndo } = useToast();
  const [name, setName] = useState(project.name);
  const [description, setDescription] = useState(project.description ?? "");
  const [instructions, setInstructions] = useState(project.instructions ?? "");
  const place = (changed: Project) => {
    client.setQueryData(projectQuery(project.id).queryKey, changed);
    void client.invalidateQueries({ queryKey: ["projects"] });
  };
  const saving = useMutation({
    mutationFn: (changes: Parameters<typeof updateProject>[1]) => updateProject(project.id, changes),
    onSuccess: place,
  });
  const archive = (is_archived: boolean) => saving.mutate({ is_archived });
  const deleting = useMutation({
    mutationFn: () => deleteProject(project.id),
    onSuccess: () => {
      offerUndo("Moved to the trash.", () => {
        restoreProject(project.id)
          .then(place)
          .catch((error) => say(wordsFor(error)));
      });
      void client.invalidateQueries({ queryKey: ["projects"] });
      onLeft();
    },
    onError: (error) => say(wordsFor(error)),
  });
  const fieldError = (field: string) => wordsForField(saving.error, field);
  const hasFieldError = ["name", "description", "instructions"].some(fieldError);
  return (
    <Section title="Settings">
      <form
        className="flex flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          saving.mutate(
            { name, description: description || null, instructions: instructions || null },
            { onSuccess: () => say("Saved.") },
          );
        }}
      >
        <Field
          label="Name"
          maxLength={100}
          value={name}
          error={fieldError("name")}
          onChange={(event) => setName(event.target.value)}
        />
        <Field
          label="Description"
          maxLength={1000}
          value={description}
          error={fieldError("description")}
          onChange={(event) => setDescription(event.target.value)}
        />
        <TextField
          label="Instructions"
          hint="Models read them before each chat of the project, and before the chat's own."
          maxLength={10_000}
          value={instructions}
          error={fieldError("instructions")}
          onChange={(event) => setInstructions(event.target.value)}
        />
        {modelChoice(project.default_model, (default_model) => saving.mutate({ default_model }))}
        <Problem words={saving.error && !hasFieldError && wordsFor(saving.error)} />
        <div className="flex flex-wrap gap-2">
          <Button look="primary" type="submit" disabled={!name.trim() || saving.isPending}>
            Save
          </Button>
          {project.status === "archived" ? (
            <Button onClick={() => archive(false)}>Take out of archive</Button>
          ) : (
            <Button onClick={() => archive(true)}>Archive</Button>
          )}
          <Button disabled={deleting.isPending} onClick={() => deleting.mutate()}>
            Delete
          </Button>
        </div>
      </form>
    </Section>
  );
}
