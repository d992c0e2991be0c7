import { useNavigate } from "@tanstack/react-router";
import { FilePlus } from "lucide-react";
import { useState } from "react";
import { wordsFor } from "@/api/words";
import { createDraft, DraftList, importDraft, SharedDrafts } from "@/features/drafts";
import { Button } from "@/ui/button";
import { useToast } from "@/ui/toast";
import { Page } from "./page";

export function DraftsPage() {
  const navigate = useNavigate();
  const { say } = useToast();
  const [isTrash, setTrash] = useState(false);
  const [isMaking, setMaking] = useState(false);
  const make = async (file?: File) => {
    setMaking(true);
    try {
      const draft = await (file ? importDraft(file) : createDraft({}));
      await navigate({ to: "/d/$draftId", params: { draftId: draft.id } });
    } catch (error) {
      say(wordsFor(error));
    } finally {
      setMaking(false);
    }
  };
  return (
    <Page title="Drafts">
      <div className="flex flex-wrap items-center gap-2 pb-4">
        <Button look="primary" disabled={isMaking} onClick={() => void make()}>
          <FilePlus size={16} strokeWidth={1.5} aria-hidden /> New draft
        </Button>
        <label className="inline-flex min-h-9 cursor-pointer items-center rounded-control border border-hairline-strong px-3 font-medium focus-within:outline-2 focus-within:outline-accent hover:bg-surface-hover">
          {isMaking ? "Reading …" : "Import a text …"}
          <input
            type="file"
            accept=".md,.markdown,.txt,.docx,.odt,.rtf,.pdf,text/plain,text/markdown"
            className="sr-only"
            disabled={isMaking}
            onChange={(event) => {
              const file = event.target.files?.[0];
              event.target.value = "";
              if (file) void make(file);
            }}
          />
        </label>
        <Button look="plain" className="ml-auto" aria-pressed={isTrash} onClick={() => setTrash(!isTrash)}>
          {isTrash ? "All drafts" : "Trash"}
        </Button>
      </div>
      <DraftList key={String(isTrash)} isTrash={isTrash} />
      {!isTrash && <SharedDrafts />}
    </Page>
  );
}
