import { FileList } from "@/features/files";
import { Page } from "./page";

export function FilesPage() {
  return (
    <Page title="Files">
      <FileList />
    </Page>
  );
}
