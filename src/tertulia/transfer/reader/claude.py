"""Read Claude's conversations.json: messages in sequence, or linked to their parents in newer exports."""

from typing import Any

from tertulia.chat.import_sources import ImportSource
from tertulia.transfer.found import FoundChat, FoundMessage
from tertulia.transfer.reader.shapes import Part, code_part, listed, mapped, reasoning_part, seconds, text_part

_ROOT = "00000000-0000-4000-8000-000000000000"


def knows(item: dict[str, Any]) -> bool:
    return isinstance(item.get("chat_messages"), list)


def read(item: dict[str, Any]) -> FoundChat:
    problems: list[str] = []
    entries = [mapped(entry) for entry in item["chat_messages"]]
    ids = {str(entry.get("uuid")) for entry in entries}
    has_links = any(entry.get("parent_message_uuid") for entry in entries)
    messages: list[FoundMessage] = []
    skipped: dict[str, str | None] = {}  # empty messages, each with the one before it
    previous: str | None = None
    for entry in entries:
        message_id = str(entry.get("uuid"))
        link = entry.get("parent_message_uuid")
        parent = (str(link) if str(link) in ids and link != _ROOT else None) if has_links else previous
        while parent in skipped:
            parent = skipped[parent]
        parts = _parts(entry, problems)
        if not parts:
            skipped[message_id] = parent
            continue
        messages.append(
            FoundMessage(
                id=message_id,
                parent=parent,
                role="user" if entry.get("sender") == "human" else "assistant",
                parts=parts,
                created_at=seconds(entry.get("created_at")),
            )
        )
        previous = message_id
    return FoundChat(
        source=ImportSource.CLAUDE,
        id=str(item.get("uuid")),
        title=str(item.get("name") or ""),
        created_at=seconds(item.get("created_at")),
        updated_at=seconds(item.get("updated_at")),
        head=str(item.get("current_leaf_message_uuid") or "") or (messages[-1].id if messages else None),
        messages=messages,
        problems=sorted(set(problems)),
    )


def _parts(entry: dict[str, Any], problems: list[str]) -> list[Part]:
    parts = [part for block in listed(entry.get("content")) for part in _block(mapped(block), problems)]
    parts = parts or text_part(entry.get("text"))
    for attachment in map(mapped, listed(entry.get("attachments"))):
        text = attachment.get("extracted_content")
        if isinstance(text, str) and text.strip():
            parts += [
                {**part, "filename": str(attachment.get("file_name") or "file")[:255]} for part in code_part(text)
            ]
    for file in map(mapped, listed(entry.get("files"))):
        problems.append("Files are not in the export. Only their names are kept.")
        parts += text_part(f"[{file.get('file_name') or 'A file'}, which is not in the export]")
    return parts


def _block(block: dict[str, Any], problems: list[str]) -> list[Part]:
    match block.get("type"):
        case "text":
            return text_part(block.get("text"))
        case "thinking":
            return reasoning_part(block.get("thinking"))
        case "tool_use":
            problems.append("Tool calls are kept as text.")
            return code_part(f"{block.get('name')}({block.get('input')})")
        case "tool_result":
            content = block.get("content")
            text = (
                content
                if isinstance(content, str)
                else "\n".join(str(mapped(piece).get("text") or "") for piece in listed(content))
            )
            return code_part(text)
        case kind:
            problems.append(f"A part of the unknown kind {kind} was left out.")
            return []
