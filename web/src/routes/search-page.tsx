import { useNavigate } from "@tanstack/react-router";
import { useCallback } from "react";
import { SearchView } from "@/features/search";
import { Page } from "./page";

export function SearchPage({ typed }: { typed: string }) {
  const navigate = useNavigate();
  const type = useCallback(
    (q: string) => void navigate({ to: "/search", search: q ? { q } : {}, replace: true }),
    [navigate],
  );
  return (
    <Page title="Search">
      <SearchView typed={typed} onType={type} />
    </Page>
  );
}
