// The chats and messages that are loaded, kept right by what is sent here and by what others change.
import type { QueryClient } from "@tanstack/react-query";
import { type Chat, contextQuery, FAR, fetchMessages, type Pages, type Sent, type Shown } from "./queries";
import type { Message } from "./reducer";

/**
 * Place a new or changed message into the loaded branch. A message of this window (`isOwn`) replaces the shown branch from
 * its place on. Messages of others extend the branch or become siblings.
 */
export function placeMessage(client: QueryClient, message: Message, isOwn = false): void {
  const key = message.parent_message_id
    ? ["thread", message.parent_message_id]
    : ["messages", message.chat_id];
  client.setQueryData<Message>(["message", message.id], (known) =>
    !known || known.updated_at > message.updated_at ? known : message,
  );
  // A reply whose parent was deleted has no thread to show.
  if (message.thread_level > 0 && !message.parent_message_id) return;
  client.setQueryData<Pages<Message>>(key, (loaded) => {
    if (!loaded) return loaded;
    const items = loaded.pages.flatMap((page) => page.items);
    const last = loaded.pages.at(-1);
    const known = items.findIndex((item) => item.id === message.id);
    let next: Message[];
    if (known >= 0) {
      const before = items[known];
      // An older version of the message, received another way, must not replace a newer one.
      if (before && before.updated_at > message.updated_at) return loaded;
      next = items.with(known, message);
    } else {
      const previous = items.findIndex((item) => item.id === message.previous_message_id);
      const goesOn = previous === 0 || (items.length === 0 && !message.previous_message_id);
      const replaces = isOwn && (previous >= 0 || !message.previous_message_id);
      next = goesOn || replaces ? [message, ...(previous < 0 ? [] : items.slice(previous))] : items;
    }
    const siblings = new Set(message.sibling_ids);
    next = next.map((item) => (siblings.has(item.id) ? { ...item, sibling_ids: message.sibling_ids } : item));
    const isWhole = next.at(-1)?.previous_message_id === null;
    return {
      pages: [{ items: next, next_cursor: isWhole ? null : (last?.next_cursor ?? null) }],
      pageParams: [undefined],
    };
  });
}

/** Place a new or changed chat into the lists that it belongs to, and remove it from the others. */
export function placeChat(client: QueryClient, chat: Chat): void {
  client.setQueryData(["chat", chat.id], chat);
  if (chat.owner) {
    void client.invalidateQueries({ queryKey: ["shared-chats"] });
    return; // chats of other users have their own list
  }
  if (chat.kind === "draft" || chat.kind === "channel") return; // listed with its draft or its project
  const home: Shown = chat.deleted_at ? "trash" : chat.is_archived ? "archived" : "active";
  for (const shown of ["active", "pinned", "archived", "trash"] as const) {
    const belongs = shown === home || (shown === "pinned" && home === "active" && chat.pinned_at !== null);
    client.setQueryData<Pages<Chat>>(["chats", shown], (loaded) => {
      if (!loaded) return loaded;
      const items = loaded.pages.flatMap((page) => page.items).filter((item) => item.id !== chat.id);
      const last = loaded.pages.at(-1);
      if (belongs) {
        const at = items.findIndex((item) => item.last_message_at <= chat.last_message_at);
        const end = at < 0 ? items.length : at;
        // Older than everything loaded: it arrives with its page.
        if (at >= 0 || !last?.next_cursor) items.splice(end, 0, chat);
      }
      return { pages: [{ items, next_cursor: last?.next_cursor ?? null }], pageParams: [undefined] };
    });
  }
}

/** Remove a chat that was deleted permanently or is no longer shared. */
export function forgetChat(client: QueryClient, chatId: string): void {
  for (const shown of ["active", "pinned", "archived", "trash"] as const)
    client.setQueryData<Pages<Chat>>(["chats", shown], (loaded) => {
      if (!loaded) return loaded;
      const items = loaded.pages.flatMap((page) => page.items).filter((item) => item.id !== chatId);
      return {
        pages: [{ items, next_cursor: loaded.pages.at(-1)?.next_cursor ?? null }],
        pageParams: [undefined],
      };
    });
  void client.invalidateQueries({ queryKey: ["shared-chats"] });
}

/** Remove a message from the cache. Its successors follow its predecessor. */
export function removeMessage(client: QueryClient, message: Message): void {
  client.removeQueries({ queryKey: ["message", message.id] });
  const key = message.parent_message_id
    ? ["thread", message.parent_message_id]
    : ["messages", message.chat_id];
  client.setQueryData<Pages<Message>>(key, (loaded) => {
    if (!loaded) return loaded;
    const items = loaded.pages
      .flatMap((page) => page.items)
      .filter((item) => item.id !== message.id)
      .map((item) => ({
        ...item,
        sibling_ids: item.sibling_ids.filter((id) => id !== message.id),
        previous_message_id:
          item.previous_message_id === message.id ? message.previous_message_id : item.previous_message_id,
      }));
    return {
      pages: [{ items, next_cursor: loaded.pages.at(-1)?.next_cursor ?? null }],
      pageParams: [undefined],
    };
  });
}

/** Return whether a message is older than the newest one shown, as a restored message is. */
export function isBetween(client: QueryClient, message: Message): boolean {
  const items = client.getQueryData<Pages<Message>>(["messages", message.chat_id])?.pages[0]?.items ?? [];
  const newest = items[0];
  return newest !== undefined && newest.created_at > message.created_at;
}

let lastAsked = 0; // of two requests, only the later one is shown

/** Show the branch through a message in this window. The current branch stays until the new one is loaded. */
export async function showBranch(
  client: QueryClient,
  chatId: string,
  messageId?: string,
  parentId?: string,
): Promise<void> {
  const request = ++lastAsked;
  const queryKey = parentId ? ["thread", parentId] : ["messages", chatId];
  // A running request would bring the old branch.
  await client.cancelQueries({ queryKey });
  const page = await fetchMessages(chatId, { through: messageId, parent: parentId });
  if (request !== lastAsked) return;
  client.setQueryData<Pages<Message>>(queryKey, { pages: [page], pageParams: [undefined] });
  void client.invalidateQueries(contextQuery(chatId)); // another branch has another context
}

/** Load a message with its branch, and everything between it and the newest. */
export async function showTarget(client: QueryClient, chatId: string, messageId: string): Promise<void> {
  const loaded = client.getQueryData<Pages<Message>>(["messages", chatId])?.pages ?? [];
  if (loaded.some((page) => page.items.some((item) => item.id === messageId))) return;
  await client.cancelQueries({ queryKey: ["messages", chatId] });
  const items: Message[] = [];
  let cursor: string | undefined;
  do {
    const page = await fetchMessages(chatId, { through: messageId, limit: String(FAR), cursor });
    items.push(...page.items);
    cursor = page.next_cursor ?? undefined;
  } while (cursor && !items.some((item) => item.id === messageId));
  client.setQueryData<Pages<Message>>(["messages", chatId], {
    pages: [{ items, next_cursor: cursor ?? null }],
    pageParams: [undefined],
  });
}

/** Return the newest message shown here if the chat's head is on another branch, so that new messages follow it. */
export function ownLeaf(client: QueryClient, chatId: string): string | undefined {
  const head = client.getQueryData<Chat>(["chat", chatId])?.head_message_id;
  const items = client
    .getQueryData<Pages<Message>>(["messages", chatId])
    ?.pages.flatMap((page) => page.items);
  return items?.length && head && !items.some((item) => item.id === head) ? items[0]?.id : undefined;
}

/** Return whether a chat is a channel, where messages of all people follow one another. */
export const isChannel = (client: QueryClient, chatId: string) =>
  client.getQueryData<Chat>(["chat", chatId])?.kind === "channel";

/**
 * Place a new message of a channel. If another one is missing before it, the newest are fetched again: messages of
 * several people arrive in any order.
 */
export async function placeInChannel(client: QueryClient, message: Message, isNew: boolean): Promise<void> {
  placeMessage(client, message, false);
  if (!isNew || message.thread_level > 0) return;
  const loaded = client.getQueryData<Pages<Message>>(["messages", message.chat_id]);
  const isShown = loaded?.pages.some((page) => page.items.some((item) => item.id === message.id));
  if (loaded && !isShown) await client.invalidateQueries({ queryKey: ["messages", message.chat_id] });
}

export function placeSent(client: QueryClient, sent: Sent): void {
  if (isChannel(client, sent.message.chat_id)) return void placeInChannel(client, sent.message, true);
  placeMessage(client, sent.message, true);
  if (sent.reply && sent.reply.id !== sent.message.id) placeMessage(client, sent.reply, true);
  if (sent.run) client.setQueryData(["run", sent.run.id], sent.run);
  for (const { reply, run } of sent.others) {
    client.setQueryData(["message", reply.id], reply);
    placeMessage(client, reply);
    client.setQueryData(["run", run.id], run);
  }
}
