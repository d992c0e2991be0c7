import type { ChangeHandlers } from "@/realtime/protocol";
import type { User } from "./queries";

const preferred = ({ default_model, favourite_models, model_windows }: User["preferences"]) =>
  JSON.stringify([default_model, favourite_models, model_windows]);

/** How the loaded account, devices and tokens follow their changes. */
export const accountChanges: ChangeHandlers<"user" | "session" | "api_token" | "invitation"> = {
  user: (client, change) => {
    const before = client.getQueryData<User>(["me"])?.preferences;
    client.setQueryData(["me"], change.payload);
    const after = (change.payload as User | null)?.preferences;
    // Models are listed with the default, the favourites and the windows, which another window may have changed.
    if (!before || !after || preferred(before) === preferred(after)) return;
    void client.invalidateQueries({ queryKey: ["models"] });
    void client.invalidateQueries({ queryKey: ["context"] });
  },
  session: (client) => void client.invalidateQueries({ queryKey: ["session"] }),
  invitation: (client) => {
    for (const key of ["invitation", "users", "people-use"])
      void client.invalidateQueries({ queryKey: [key] });
  },
  api_token: (client) => void client.invalidateQueries({ queryKey: ["api_token"] }),
};
