import { createContext, type ReactNode } from "react";
import type { ToolCallPart } from "./reducer";

/** How a call of a tool is shown in a message: given by the page, as tools are no matter of chats. */
export type ShowToolCall = (part: ToolCallPart, messageId: string) => ReactNode;

export const ToolSlot = createContext<ShowToolCall | undefined>(undefined);
