import { createContext, type ReactNode } from "react";
import type { ToolCallPart } from "./reducer";

/** How a tool call is shown in a message. The page supplies it, because chats do not know tools. */
export type ShowToolCall = (part: ToolCallPart, messageId: string) => ReactNode;

export const ToolSlot = createContext<ShowToolCall | undefined>(undefined);
