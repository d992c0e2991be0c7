"""Tools with which a model reads the user's chats and files, and keeps the state of its chat."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session
from typing_extensions import override

from tertulia.accounts.actor import Actor
from tertulia.chat.file_uses import MessageFileUses
from tertulia.chat.message_files import text_of_file
from tertulia.chat.service import get_chat, list_messages
from tertulia.chat.state import StateWrite, get_state, merge_state
from tertulia.files.service import get_attachment
from tertulia.ids import AttachmentId, ChatId, parse_id
from tertulia.tools.protocol import Risk, Tool, ToolContext, ToolFailed, ToolResult

MAX_MESSAGES = 100
MAX_CHARACTERS = 200_000
_ID = {"type": "string", "minLength": 32, "maxLength": 36}


def checked_id(text: str) -> str:
    """Parse an id. Raises ToolFailed if it is not valid."""
    try:
        return parse_id(text)
    except ValueError:
        raise ToolFailed(f"{text[:40]} is not an id.") from None


class ReadChat(Tool):
    name = "read_chat"
    description = "Read the newest messages of one of the person's chats, oldest first."
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {"chat_id": _ID, "limit": {"type": "integer", "minimum": 1, "maximum": MAX_MESSAGES}},
        "required": ["chat_id"],
        "additionalProperties": False,
    }
    risk = Risk.READ_ONLY
    timeout_s = 10.0
    sends_out = False
    reads_private = True

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        chat_id = ChatId(checked_id(arguments["chat_id"]))
        text = await context.read(_read_chat, chat_id, arguments.get("limit", 20), context.actor)
        return ToolResult(text, sources=[] if chat_id == context.chat_id else [{"kind": "chat", "name": chat_id}])


def _read_chat(session: Session, chat_id: ChatId, limit: int, actor: Actor) -> str:
    chat = get_chat(session, actor, chat_id)
    messages, older = list_messages(session, actor, chat_id, limit=limit)
    lines = [f"{message['role'].value}: {message['content']}" for message in reversed(messages)]
    head = f"# {chat['title']}" + ("\n[older messages are left out]" if older else "")
    return "\n\n".join([head, *lines])[:MAX_CHARACTERS]


class ReadAttachment(Tool):
    name = "read_attachment"
    description = "Read the text of a file that the person attached, starting at a character offset."
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "attachment_id": _ID,
            "start": {"type": "integer", "minimum": 0},
            "length": {"type": "integer", "minimum": 1, "maximum": MAX_CHARACTERS},
        },
        "required": ["attachment_id"],
        "additionalProperties": False,
    }
    risk = Risk.READ_ONLY
    timeout_s = 10.0
    sends_out = False
    reads_private = True

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        start = arguments.get("start", 0)
        file_id = AttachmentId(checked_id(arguments["attachment_id"]))
        end = start + arguments.get("length", 20_000)
        name, text = await context.read(_read_file, file_id, end, context.actor)
        return ToolResult(text[start:], sources=[{"kind": "file", "name": name}])


def _read_file(session: Session, attachment_id: AttachmentId, upto: int, actor: Actor) -> tuple[str, str]:
    attachment = get_attachment(session, actor, attachment_id, MessageFileUses())
    text = text_of_file(session, attachment_id, upto)
    if not text:
        raise ToolFailed("This file has no readable text.")
    return attachment["file_name"], text


class ReadState(Tool):
    name = "read_state"
    description = "Read the stored state of this chat's task as JSON, with the schema that it must match."
    parameters: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    risk = Risk.READ_ONLY
    timeout_s = 10.0
    sends_out = False

    @override
    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        kept = await context.read(lambda session: get_state(session, context.actor, ChatId(context.chat_id)))
        return ToolResult({"state": kept["state"], "schema": kept["schema"]}, "json", sources=[])


class WriteState(Tool):
    name = "write_state"
    description = (
        "Store information about this chat's task for later turns, such as the requirements so far. Named "
        "fields are replaced, null removes a field, the others stay."
    )
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {"changes": {"type": "object"}},
        "required": ["changes"],
        "additionalProperties": False,
    }
    risk = Risk.LOW
    timeout_s = 10.0
    is_parallel_safe = False
    sends_out = False

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        def write(session: Session) -> dict[str, Any]:
            write = StateWrite(state=arguments["changes"])
            return merge_state(session, context.actor, ChatId(context.chat_id), write)["state"]

        return ToolResult(await context.write(write), "json", sources=[])
