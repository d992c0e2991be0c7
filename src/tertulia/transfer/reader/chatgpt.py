"""Read ChatGPT's conversations.json: a mapping of nodes. Hidden nodes are skipped."""

from typing import Any

from tertulia.chat.import_sources import ImportSource
from tertulia.transfer.found import FoundChat, FoundMessage
from tertulia.transfer.reader.shapes import (
    Part,
    code_part,
    listed,
    mapped,
    reasoning_part,
    seconds,
    source_part,
    text_part,
)


def knows(item: dict[str, Any]) -> bool:
    return isinstance(item.get("mapping"), dict)


def read(item: dict[str, Any]) -> FoundChat:
    nodes: dict[str, Any] = item["mapping"]
    kept: dict[str, FoundMessage] = {}
    problems: list[str] = []
    for node_id, node in nodes.items():
        message = _message(node_id, mapped(mapped(node).get("message")), problems)
        if message is not None:
            kept[node_id] = message
    for node_id, message in kept.items():
        message.parent = _kept_above(nodes, kept, mapped(nodes[node_id]).get("parent"))
    return FoundChat(
        source=ImportSource.CHATGPT,
        id=str(item.get("conversation_id") or item.get("id")),
        title=str(item.get("title") or ""),
        created_at=seconds(item.get("create_time")),
        updated_at=seconds(item.get("update_time")),
        head=_kept_above(nodes, kept, item.get("current_node")),
        is_archived=item.get("is_archived") is True,
        is_pinned=item.get("is_starred") is True,
        model=item.get("default_model_slug") if isinstance(item.get("default_model_slug"), str) else None,
        messages=list(kept.values()),
        problems=sorted(set(problems)),
    )


def _kept_above(nodes: dict[str, Any], kept: dict[str, FoundMessage], node_id: object) -> str | None:
    """Return the node or its nearest kept ancestor. A cycle, which no export should have, ends the search."""
    seen: set[str] = set()
    while isinstance(node_id, str) and node_id in nodes and node_id not in seen:
        if node_id in kept:
            return node_id
        seen.add(node_id)
        node_id = mapped(nodes[node_id]).get("parent")
    return None


def _message(node_id: str, message: dict[str, Any], problems: list[str]) -> FoundMessage | None:
    metadata = mapped(message.get("metadata"))
    if not message or metadata.get("is_visually_hidden_from_conversation") or message.get("weight") == 0:
        return None
    role = mapped(message.get("author")).get("role")
    if role not in ("user", "assistant", "tool"):
        return None  # the system instructions of every chat
    parts = _parts(mapped(message.get("content")), problems) + _sources(metadata)
    if not parts:
        return None
    return FoundMessage(
        id=node_id,
        role="user" if role == "user" else "assistant",
        parts=parts,
        created_at=seconds(message.get("create_time")),
        model=metadata.get("model_slug") if isinstance(metadata.get("model_slug"), str) else None,
    )


def _parts(content: dict[str, Any], problems: list[str]) -> list[Part]:
    match content.get("content_type"):
        case "text" | "multimodal_text":
            return [part for piece in listed(content.get("parts")) for part in _piece(piece, problems)]
        case "code":
            return code_part(content.get("text"), content.get("language"))
        case "execution_output":
            return code_part(content.get("text"))
        case "thoughts":
            thoughts = [mapped(thought) for thought in listed(content.get("thoughts"))]
            text = "\n\n".join(str(thought.get("content") or thought.get("summary") or "") for thought in thoughts)
            return reasoning_part(text)
        case "tether_quote":
            return text_part(content.get("text")) + source_part(content.get("url"), content.get("title"))
        case "tether_browsing_display":
            return text_part(content.get("result"))
        case "reasoning_recap" | "user_editable_context" | "model_editable_context":
            return []
        case kind:
            problems.append(f"A part of the unknown kind {kind} was left out.")
            return []


def _piece(piece: object, problems: list[str]) -> list[Part]:
    if isinstance(piece, str):
        return text_part(piece)
    kind = mapped(piece).get("content_type")
    if kind == "audio_transcription":
        return text_part(mapped(piece).get("text"))
    problems.append("Pictures and audio are not in the export. Placeholders replace them.")
    return text_part(
        "[A picture that is not in the export]"
        if kind == "image_asset_pointer"
        else "[Audio that is not in the export]"
    )


def _sources(metadata: dict[str, Any]) -> list[Part]:
    sources: dict[str, Part] = {}
    for reference in listed(metadata.get("content_references")) + listed(metadata.get("citations")):
        entry = mapped(reference)
        for source in (entry, mapped(entry.get("metadata")), *map(mapped, listed(entry.get("items")))):
            for part in source_part(source.get("url"), source.get("title")):
                sources.setdefault(part["url"], part)
    return list(sources.values())
