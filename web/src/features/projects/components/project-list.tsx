import { useMutation, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { wordsFor } from "@/api/words";
import { relativeTime } from "@/lib/dates";
import { Button } from "@/ui/button";
import { Badge, Row, Rows, Section } from "@/ui/section";
import { Failed, Lines } from "@/ui/states";
import { useToast } from "@/ui/toast";
import { type Project, projectsQuery, restoreProject, updateProject } from "../queries";
import { NewProject } from "./new-project";

/** All projects: active, archived, and those in the trash. */
export function ProjectList({ onOpen }: { onOpen: (projectId: string) => void }) {
  const [isCreating, setCreating] = useState(false);
  return (
    <div className="flex flex-col gap-10">
      <Section
        title="Projects"
        hint="Chats with instructions and a model in common, alone or with others."
        action={
          <Button look="primary" onClick={() => setCreating(true)}>
            New project
          </Button>
        }
      >
        <Projects status="active" nothing="No projects yet." />
      </Section>
      <Section title="Archive" hint="Their members can only read.">
        <Projects status="archived" nothing="Nothing is archived." />
      </Section>
      <Section title="Trash" hint="They are deleted after thirty days. Your chats stay.">
        <Projects status="deleted" nothing="The trash is empty." />
      </Section>
      {isCreating && (
        <NewProject onClose={() => setCreating(false)} onCreated={(project) => onOpen(project.id)} />
      )}
    </div>
  );
}

function Projects({ status, nothing }: { status: Project["status"]; nothing: string }) {
  const { say } = useToast();
  const projects = useQuery(projectsQuery(status));
  const bringing = useMutation({
    mutationFn: (project: Project) =>
      status === "deleted" ? restoreProject(project.id) : updateProject(project.id, { is_archived: false }),
    onError: (error) => say(wordsFor(error)),
  });
  if (projects.isPending) return <Lines widths={["w-1/2", "w-1/3"]} />;
  if (projects.error)
    return <Failed words={wordsFor(projects.error)} onRetry={() => void projects.refetch()} />;
  if (projects.data.length === 0) return <p className="text-text-muted">{nothing}</p>;
  return (
    <Rows>
      {projects.data.map((project) => (
        <Row
          key={project.id}
          actions={
            status !== "active" &&
            project.role === "owner" && (
              <Button disabled={bringing.isPending} onClick={() => bringing.mutate(project)}>
                {status === "deleted" ? "Restore" : "Take out of archive"}
              </Button>
            )
          }
        >
          <p className="flex flex-wrap items-center gap-2">
            {status === "deleted" ? (
              project.name
            ) : (
              <Link
                to="/p/$projectId"
                params={{ projectId: project.id }}
                className="font-medium hover:underline"
              >
                {project.name}
              </Link>
            )}
            {project.member_count > 1 && <Badge>{project.member_count} people</Badge>}
            {project.role !== "owner" && <Badge>of {project.owner.name}</Badge>}
          </p>
          <p className="truncate text-sm text-text-muted">
            {project.description ?? `Changed ${relativeTime(project.updated_at)}`}
          </p>
        </Row>
      ))}
    </Rows>
  );
}
