import { PanelLeft } from "lucide-react";
import { createContext, useContext } from "react";
import { IconButton } from "./button";

const Open = createContext<() => void>(() => undefined);
export const MenuButtonProvider = Open.Provider;

/** Open the side bar on small screens. */
export function MenuButton() {
  const open = useContext(Open);
  return (
    <IconButton label="Open the list of chats" className="md:hidden" onClick={open}>
      <PanelLeft size={18} strokeWidth={1.5} aria-hidden />
    </IconButton>
  );
}
