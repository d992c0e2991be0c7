export { AllChats } from "./components/all-chats";
export { ChatList, OwnChats } from "./components/chat-list";
export { ChatView } from "./components/chat-view";
export { Markdown } from "./components/markdown";
export { NewChat } from "./components/new-chat";
export { SharedChat } from "./components/shared-chat";
export { WaitingWords } from "./components/waiting-words";
export { applyChange } from "./events";
export { cancelRun, chatQuery } from "./queries";
