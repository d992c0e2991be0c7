import { useQuery, useSuspenseQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { meQuery, ProjectInvitations } from "@/features/accounts";
import { PlaceLimits, ProjectUse } from "@/features/billing";
import { ModelPicker, modelOfKey } from "@/features/models";
import { ProjectList, ProjectView, projectQuery } from "@/features/projects";
import { Button } from "@/ui/button";
import { Page } from "./page";

export function ProjectsPage() {
  const navigate = useNavigate();
  return (
    <Page title="Projects">
      <ProjectList onOpen={(projectId) => void navigate({ to: "/p/$projectId", params: { projectId } })} />
    </Page>
  );
}

export function ProjectPage({ projectId }: { projectId: string }) {
  const navigate = useNavigate();
  const { data: me } = useSuspenseQuery(meQuery);
  const { data: project } = useQuery(projectQuery(projectId));
  return (
    <Page title={project?.name ?? "Project"}>
      <ProjectView
        key={projectId}
        projectId={projectId}
        meId={me.id}
        onLeft={() => void navigate({ to: "/projects" })}
        invitations={<ProjectInvitations projectId={projectId} />}
        costs={
          <>
            <ProjectUse projectId={projectId} />
            <PlaceLimits place={{ kind: "project", id: projectId }} />
          </>
        }
        modelChoice={(value, choose) => (
          <div className="flex flex-wrap items-end gap-2">
            <ModelPicker
              label="Model of its chats"
              showLabel
              value={value ? modelOfKey(value) : undefined}
              onChoose={(provider, modelName) => choose(`${provider}/${modelName}`)}
            />
            {value && <Button onClick={() => choose(null)}>Everyone's own</Button>}
          </div>
        )}
      />
    </Page>
  );
}
