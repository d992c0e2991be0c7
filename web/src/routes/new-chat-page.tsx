import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect } from "react";
import { NewChat } from "@/features/chat";
import { EffortChoice, ModelPicker, modelsQuery, PicturesSwitch, SearchSwitch } from "@/features/models";
import { projectQuery } from "@/features/projects";
import { MenuButton } from "@/ui/menu-button";
import { ModelNotice } from "./model-notice";

/** A new chat, in a project if its address says so. */
export function NewChatPage({ projectId }: { projectId?: string }) {
  const navigate = useNavigate();
  const { data: models = [] } = useQuery(modelsQuery);
  const { data: project } = useQuery({ ...projectQuery(projectId ?? ""), enabled: projectId !== undefined });
  useEffect(() => {
    document.title = "Tertulia";
  }, []);
  return (
    <NewChat
      menuButton={<MenuButton />}
      notice={<ModelNotice />}
      project={project && { id: project.id, name: project.name, others: project.member_count - 1 }}
      onMade={(chatId) => void navigate({ to: "/c/$chatId", params: { chatId } })}
      modelChoice={(value, choose) => <ModelPicker value={value} onChoose={choose} />}
      replyChoices={(chosen, settings, change) => {
        const model = models.find((item) =>
          chosen
            ? item.provider === chosen.provider && item.model_name === chosen.model_name
            : item.is_default,
        );
        return (
          <>
            <EffortChoice
              model={model}
              value={settings.reasoning_effort}
              onChoose={(reasoning_effort) => change({ ...settings, reasoning_effort })}
            />
            <SearchSwitch
              model={model}
              isOn={settings.web_search === true}
              onToggle={(web_search) => change({ ...settings, web_search })}
            />
            <PicturesSwitch
              model={model}
              isOn={settings.make_pictures === true}
              onToggle={(make_pictures) => change({ ...settings, make_pictures })}
            />
          </>
        );
      }}
    />
  );
}
