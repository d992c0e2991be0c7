export { ChatState } from "./components/chat-state";
export { PendingCalls } from "./components/pending-calls";
export { ToolCallCard } from "./components/tool-card";
export { ToolHistory } from "./components/tool-history";
export { ToolRules } from "./components/tool-rules";
export { ToolsChoice } from "./components/tools-choice";
export { applyToolChange } from "./events";
export { pendingQuery } from "./queries";
