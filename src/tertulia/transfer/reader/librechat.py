"""Read LibreChat's export: one file for each chat, with messages in sequence or as a tree of children."""

from collections.abc import Iterator
from typing import Any

from tertulia.chat.import_sources import ImportSource
from tertulia.transfer.found import FoundChat, FoundMessage
from tertulia.transfer.reader.shapes import Part, code_part, listed, mapped, reasoning_part, seconds, text_part

_ROOT = "00000000-0000-0000-0000-000000000000"


def knows(item: dict[str, Any]) -> bool:
    return isinstance(item.get("messages"), list) and "conversationId" in item


def read(item: dict[str, Any]) -> FoundChat:
    problems: list[str] = []
    messages: dict[str, FoundMessage] = {}
    above: dict[str, str | None] = {}
    last: str | None = None
    for entry in _flat(item["messages"]):
        message_id = str(entry.get("messageId"))
        link = entry.get("parentMessageId")
        above[message_id] = str(link) if link and link != _ROOT else None
        parts = _parts(entry, problems)
        if parts:
            last = message_id
            messages[message_id] = FoundMessage(
                id=message_id,
                role="user" if entry.get("isCreatedByUser") is True else "assistant",
                parts=parts,
                created_at=seconds(entry.get("createdAt")),
                model=entry.get("model") if isinstance(entry.get("model"), str) else None,
            )
    for message_id, message in messages.items():
        parent, seen = above[message_id], {message_id}
        while parent is not None and parent not in messages and parent not in seen:
            seen.add(parent)
            parent = above.get(parent)
        message.parent = parent if parent in messages and parent != message_id else None
    options = mapped(item.get("options"))
    newest = max(messages.values(), key=lambda message: message.created_at or 0, default=None)
    return FoundChat(
        source=ImportSource.LIBRECHAT,
        id=str(item.get("conversationId")),
        title=str(item.get("title") or options.get("title") or ""),
        created_at=min((message.created_at for message in messages.values() if message.created_at), default=None),
        updated_at=newest.created_at if newest else None,
        head=newest.id if newest and newest.created_at else last,
        system_prompt=str(options.get("promptPrefix") or options.get("system") or "") or None,
        model=options.get("model") if isinstance(options.get("model"), str) else None,
        messages=list(messages.values()),
        problems=sorted(set(problems)),
    )


def _flat(entries: list[Any]) -> Iterator[dict[str, Any]]:
    """Yield parents before children, without recursion: a chat may be thousands of messages deep."""
    waiting = [mapped(entry) for entry in reversed(entries)]
    while waiting:
        entry = waiting.pop()
        yield entry
        for child in reversed(listed(entry.get("children"))):
            waiting.append(
                {**mapped(child), "parentMessageId": mapped(child).get("parentMessageId") or entry.get("messageId")}
            )


def _parts(entry: dict[str, Any], problems: list[str]) -> list[Part]:
    parts: list[Part] = []
    for block in map(mapped, listed(entry.get("content"))):
        kind = block.get("type")
        if kind == "text":
            text = block.get("text")
            parts += text_part(mapped(text).get("value") if isinstance(text, dict) else text)
        elif kind == "think":
            parts += reasoning_part(block.get("think"))
        elif kind == "tool_call":
            call = mapped(block.get("tool_call"))
            problems.append("Tool calls are kept as text.")
            parts += code_part(f"{call.get('name')}({call.get('args')})") + code_part(call.get("output"))
        else:
            problems.append(f"A part of the unknown kind {kind} was left out.")
    parts = parts or text_part(entry.get("text"))
    for file in map(mapped, listed(entry.get("files"))):
        problems.append("Files are not in the export. Only their names are kept.")
        parts += text_part(f"[{file.get('filename') or 'A file'}, which is not in the export]")
    return parts
