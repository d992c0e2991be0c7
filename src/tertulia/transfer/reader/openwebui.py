"""Read Open WebUI's export: a tree of messages by id. Newer messages also have `output` items."""

import html
import re
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

_DETAILS = re.compile(r"<details\b([^>]*)>(.*?)</details>\s*", re.DOTALL)
_ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')


def knows(item: dict[str, Any]) -> bool:
    return isinstance(_messages(_inner(item)), dict)


def read(item: dict[str, Any]) -> FoundChat:
    chat = _inner(item)
    problems: list[str] = []
    entries: dict[str, Any] = _messages(chat)
    messages: list[FoundMessage] = []
    parts_of = {key: _parts(mapped(entry), problems) for key, entry in entries.items()}
    for key, entry in entries.items():
        if not parts_of[key]:
            continue
        messages.append(
            FoundMessage(
                id=key,
                parent=_with_parts_above(entries, parts_of, mapped(entry).get("parentId")),
                role=entry["role"] if entry.get("role") in ("user", "system") else "assistant",
                parts=parts_of[key],
                created_at=seconds(entry.get("timestamp")),
                model=entry.get("model") if isinstance(entry.get("model"), str) else None,
            )
        )
    models = listed(chat.get("models"))
    params = mapped(chat.get("params"))
    tags = listed(mapped(item.get("meta")).get("tags")) or listed(chat.get("tags"))
    return FoundChat(
        source=ImportSource.OPENWEBUI,
        id=str(item.get("id") or chat.get("id")),
        title=str(item.get("title") or chat.get("title") or ""),
        created_at=seconds(item.get("created_at") or chat.get("timestamp")),
        updated_at=seconds(item.get("updated_at")),
        head=_with_parts_above(entries, parts_of, mapped(chat.get("history")).get("currentId")),
        is_archived=item.get("archived") is True,
        is_pinned=item.get("pinned") is True,
        system_prompt=str(params.get("system") or chat.get("system") or "") or None,
        model=models[0] if models and isinstance(models[0], str) else None,
        tags=[str(mapped(tag).get("name") or tag) if isinstance(tag, dict) else str(tag) for tag in tags],
        messages=messages,
        problems=sorted(set(problems)),
    )


def _inner(item: dict[str, Any]) -> dict[str, Any]:
    return item["chat"] if isinstance(item.get("chat"), dict) else item


def _messages(chat: dict[str, Any]) -> Any:
    return mapped(chat.get("history")).get("messages")


def _with_parts_above(entries: dict[str, Any], parts_of: dict[str, list[Part]], key: object) -> str | None:
    seen: set[str] = set()
    while isinstance(key, str) and key in entries and key not in seen:
        if parts_of[key]:
            return key
        seen.add(key)
        key = mapped(entries[key]).get("parentId")
    return None


def _parts(entry: dict[str, Any], problems: list[str]) -> list[Part]:
    parts = [part for item in listed(entry.get("output")) for part in _output(mapped(item), problems)]
    parts = parts or _embedded(str(entry.get("content") or ""), problems)
    for source in map(mapped, listed(entry.get("sources"))):
        names = mapped(source.get("source"))
        parts += source_part(names.get("url") or names.get("name"), names.get("name"))
    for file in map(mapped, listed(entry.get("files"))):
        name = file.get("name") or mapped(file.get("file")).get("filename") or "A file"
        problems.append("Files are not in the export. Only their names are kept.")
        parts += text_part(f"[{name}, which is not in the export]")
    return parts


def _output(item: dict[str, Any], problems: list[str]) -> list[Part]:
    texts = [str(mapped(piece).get("text") or "") for piece in listed(item.get("content"))]
    match item.get("type"):
        case "message":
            return text_part("".join(texts))
        case "reasoning":
            summary = [str(mapped(piece).get("text") or "") for piece in listed(item.get("summary"))]
            took = item.get("duration")
            return reasoning_part(
                "".join(texts) or "\n".join(summary), took * 1000 if isinstance(took, int | float) else None
            )
        case "function_call":
            problems.append("Tool calls are kept as text.")
            return code_part(f"{item.get('name')}({item.get('arguments')})")
        case "function_call_output":
            output = item.get("output")
            text = (
                output
                if isinstance(output, str)
                else "\n".join(str(mapped(piece).get("text") or "") for piece in listed(output))
            )
            return code_part(text)
        case _:
            return []


def _embedded(content: str, problems: list[str]) -> list[Part]:
    """Parse older exports, which embed reasoning and tool calls in the text as HTML `<details>`."""
    parts: list[Part] = []
    at = 0
    for match in _DETAILS.finditer(content):
        attributes = dict(_ATTRIBUTE.findall(match[1]))
        kind = attributes.get("type")
        if kind not in ("reasoning", "tool_calls", "code_interpreter"):
            continue
        parts += text_part(content[at : match.start()].strip())
        at = match.end()
        inner = html.unescape(re.sub(r"<summary>.*?</summary>", "", match[2], flags=re.DOTALL)).strip()
        if kind == "reasoning":
            text = "\n".join(line.removeprefix(">").strip() for line in inner.splitlines())
            took = attributes.get("duration", "")
            parts += reasoning_part(text, float(took) * 1000 if took.replace(".", "", 1).isdigit() else None)
        else:
            problems.append("Tool calls are kept as text.")
            call = f"{attributes.get('name', kind)}({html.unescape(attributes.get('arguments', ''))})"
            parts += code_part(call) + code_part(html.unescape(attributes.get("result", "")) or inner)
    return parts + text_part(content[at:].strip())
