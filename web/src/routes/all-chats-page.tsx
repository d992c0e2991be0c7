import { Link } from "@tanstack/react-router";
import { AllChats } from "@/features/chat";
import { Page } from "./page";

export type Place = "active" | "archived" | "trash";
const PLACES = [
  { shown: "active", label: "Chats" },
  { shown: "archived", label: "Archive" },
  { shown: "trash", label: "Trash" },
] as const;

/** All active, archived or deleted chats, with bulk actions. */
export function AllChatsPage({ shown }: { shown: Place }) {
  return (
    <Page title="All chats">
      <nav aria-label="Places" className="-mx-2 mb-4 flex gap-1">
        {PLACES.map((place) => (
          <Link
            key={place.shown}
            to="/chats"
            search={place.shown === "active" ? {} : { shown: place.shown }}
            aria-current={place.shown === shown ? "page" : undefined}
            className="rounded-control px-3 py-1.5 text-text-muted hover:bg-surface-hover aria-[current]:bg-accent-quiet aria-[current]:text-accent"
          >
            {place.label}
          </Link>
        ))}
      </nav>
      <AllChats key={shown} shown={shown} />
    </Page>
  );
}
