import { Link } from "@tanstack/react-router";
import { ChatList } from "@/features/chat";
import { Page } from "./page";

export function StoredChatsPage({ shown, title }: { shown: "archived" | "trash"; title: string }) {
  return (
    <Page title={title}>
      <Link to="/chats" search={{ shown }} className="mb-4 ml-3 inline-block text-accent underline">
        Choose several
      </Link>
      {shown === "trash" && (
        <p className="mb-4 px-3 text-text-muted">What is here is deleted for good after 30 days.</p>
      )}
      <ChatList shown={shown} />
    </Page>
  );
}
