/** The kind of data of a chat that is dragged from the side bar into a project: its id. */
export const DRAGGED_CHAT = "application/x-tertulia-chat";
