export { ChatState } from "./components/chat-state";
export { PendingCalls } from "./components/pending-calls";
export { ToolCallCard } from "./components/tool-card";
export { ToolHistory } from "./components/tool-history";
export { ToolRules } from "./components/tool-rules";
export { ToolServers } from "./components/tool-servers";
export { ToolsChoice } from "./components/tools-choice";
export { applyToolChange } from "./events";
export { getCall, pendingQuery, type ToolCall } from "./queries";
