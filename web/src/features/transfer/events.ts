import type { ChangeHandlers } from "@/realtime/protocol";

/** How the loaded list of imports follows its changes. */
export const transferChanges: ChangeHandlers<"import_job"> = {
  import_job: (client) => void client.invalidateQueries({ queryKey: ["imports"] }),
};
