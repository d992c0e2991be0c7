import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { wordsFor } from "@/api/words";
import { Button } from "@/ui/button";
import { Choice } from "@/ui/choice";
import { Dialog } from "@/ui/dialog";
import { Problem } from "@/ui/problem";
import { Tick } from "@/ui/tick";
import { useToast } from "@/ui/toast";
import { moveChat, type ProjectChat, projectsQuery } from "../queries";

type Props = { chat: ProjectChat; onMoved: (chat: ProjectChat) => void; onClose: () => void };

/** Choose the project of an own chat, and whether its members may read and write in it. */
export function MoveDialog({ chat, onMoved, onClose }: Props) {
  const client = useQueryClient();
  const { say } = useToast();
  const { data: projects = [] } = useQuery(projectsQuery());
  const [projectId, setProjectId] = useState(chat.project_id ?? "");
  const [isOpen, setOpen] = useState(chat.is_open_to_project);
  const chosen = projects.find((project) => project.id === projectId);
  const others = (chosen?.member_count ?? 1) - 1;
  const openWords = others === 1 ? "Open to the other member" : `Open to the ${others} other members`;
  const hasOthers = others > 0;
  const moving = useMutation({
    mutationFn: () => moveChat(chat, projectId || null, isOpen && hasOthers),
    onSuccess: (moved) => {
      void client.invalidateQueries({ queryKey: ["project-chats"] });
      onMoved(moved);
      say(chosen ? `Moved to ${chosen.name}.` : "Taken out of the project.");
      onClose();
    },
  });
  return (
    <Dialog title="Move to a project" isOpen onClose={onClose}>
      <form
        className="flex flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          moving.mutate();
        }}
      >
        <Choice
          label="Project"
          showLabel
          value={projectId}
          options={[
            { value: "", label: "No project" },
            ...projects
              .filter((project) => project.role !== "viewer" || project.id === chat.project_id)
              .map(({ id, name }) => ({ value: id, label: name })),
          ]}
          onChoose={setProjectId}
        />
        {hasOthers && (
          <div className="flex items-start gap-3">
            <Tick label={openWords} isOn={isOpen} onChange={setOpen} />
            <div>
              <p aria-hidden>{openWords}</p>
              <p className="text-sm text-text-muted">
                Members read and write in it, viewers read. The person who asks a model pays for the reply.
              </p>
            </div>
          </div>
        )}
        <Problem words={moving.error && wordsFor(moving.error)} />
        <Button look="primary" type="submit" className="self-start" disabled={moving.isPending}>
          Move
        </Button>
      </form>
    </Dialog>
  );
}
