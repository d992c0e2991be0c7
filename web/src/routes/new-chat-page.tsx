import { useNavigate } from "@tanstack/react-router";
import { useEffect } from "react";
import { NewChat } from "@/features/chat";
import { ModelChoice } from "@/features/models";
import { MenuButton } from "@/ui/menu-button";
import { ModelNotice } from "./model-notice";

export function NewChatPage() {
  const navigate = useNavigate();
  useEffect(() => {
    document.title = "Tertulia";
  }, []);
  return (
    <NewChat
      menuButton={<MenuButton />}
      notice={<ModelNotice />}
      onMade={(chatId) => void navigate({ to: "/c/$chatId", params: { chatId } })}
      modelChoice={(value, choose) => <ModelChoice value={value} onChoose={choose} />}
    />
  );
}
