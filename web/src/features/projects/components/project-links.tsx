import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { Folder, Plus, Users } from "lucide-react";
import { type DragEvent, useState } from "react";
import { wordsFor } from "@/api/words";
import { DRAGGED_CHAT } from "@/lib/dragged";
import { IconButton } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { useToast } from "@/ui/toast";
import { type Channel, channelsQuery, moveChat, type Project, projectsQuery } from "../queries";
import { NewProject } from "./new-project";
import { Unread } from "./unread";

/** What a dragged chat is called; its value is the id. */

/** The projects in the side bar. A chat that is dropped on one moves there. */
export function ProjectLinks({ onOpen }: { onOpen?: () => void }) {
  const navigate = useNavigate();
  const { data: projects = [] } = useQuery(projectsQuery());
  const { data: channels = [] } = useQuery({
    ...channelsQuery,
    enabled: projects.some((project) => project.member_count > 1),
  });
  const [isCreating, setCreating] = useState(false);
  return (
    <section aria-label="Projects" className="mb-3">
      <div className="flex items-center justify-between pr-1">
        <Link
          to="/projects"
          onClick={onOpen}
          className="rounded-control px-3 py-1 font-medium text-text-muted text-xs"
        >
          Projects
        </Link>
        <IconButton label="New project" onClick={() => setCreating(true)}>
          <Plus size={16} strokeWidth={1.5} aria-hidden />
        </IconButton>
      </div>
      <ul>
        {projects.map((project) => (
          <ProjectLink
            key={project.id}
            project={project}
            channels={channels.filter((channel) => channel.project_id === project.id)}
            onOpen={onOpen}
          />
        ))}
      </ul>
      {isCreating && (
        <NewProject
          onClose={() => setCreating(false)}
          onCreated={(project) => {
            setCreating(false);
            onOpen?.();
            void navigate({ to: "/p/$projectId", params: { projectId: project.id } });
          }}
        />
      )}
    </section>
  );
}

type LinkProps = { project: Project; channels: Channel[]; onOpen?: () => void };

function ProjectLink({ project, channels, onOpen }: LinkProps) {
  const client = useQueryClient();
  const { say } = useToast();
  const [isTarget, setTarget] = useState(false);
  const icon = {
    size: 16,
    strokeWidth: 1.5,
    "aria-hidden": true,
    className: "shrink-0 text-text-muted",
  } as const;
  const over = (event: DragEvent) => {
    if (project.role === "viewer" || !event.dataTransfer.types.includes(DRAGGED_CHAT)) return;
    event.preventDefault();
    setTarget(true);
  };
  const drop = (event: DragEvent) => {
    const chatId = event.dataTransfer.getData(DRAGGED_CHAT);
    setTarget(false);
    if (!chatId) return;
    event.preventDefault();
    moveChat({ id: chatId, project_id: null }, project.id)
      .then(() => {
        void client.invalidateQueries({ queryKey: ["project-chats"] });
        say(`Moved to ${project.name}.`);
      })
      .catch((error) => say(wordsFor(error)));
  };
  return (
    <li onDragOver={over} onDragLeave={() => setTarget(false)} onDrop={drop}>
      <Link
        to="/p/$projectId"
        params={{ projectId: project.id }}
        onClick={onOpen}
        activeProps={{ className: "bg-surface-hover" }}
        className={cx(
          "flex min-h-9 items-center gap-2 rounded-control px-3 hover:bg-surface-hover pointer-coarse:min-h-11",
          isTarget && "bg-accent-quiet",
        )}
      >
        {project.member_count > 1 ? <Users {...icon} /> : <Folder {...icon} />}
        <span className="min-w-0 flex-1 truncate">{project.name}</span>
        <Unread channels={channels} />
      </Link>
    </li>
  );
}
