import { Link } from "@tanstack/react-router";
import { Empty } from "@/ui/states";

export function NotFoundPage() {
  return (
    <Empty title="There is no such page">
      <Link to="/" className="text-accent underline">
        Begin a new chat
      </Link>
    </Empty>
  );
}
