/** The parts of a chat. A page composes them inside `Chat.Provider`. */
export { ChatComposer as Composer } from "./chat-composer";
export { Dialogs } from "./dialogs";
export { Header } from "./header";
export { Messages, Status } from "./messages";
export { Panels } from "./panels";
export { type ChannelSlot, type ChatSlots, Provider, useChat } from "./provider";
