"""Export a chat as our own JSON: all branches and threads, files by hash, costs. Imported chats keep their ids."""

from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.models import User
from tertulia.chat.import_sources import ImportSource
from tertulia.chat.models import Chat, ChatState, ChatTag, Message, MessageStatus, Reaction, Tag
from tertulia.chat.parts import attachments_in, with_other_calls, with_other_files
from tertulia.files.models import Attachment, Blob, MessageAttachment
from tertulia.http.responses import encode
from tertulia.projects.exported import describe_project
from tertulia.transfer.native_calls import export_calls
from tertulia.transfer.reader.native import FORMAT


def native_chat(session: Session, chat_id: str, *, is_own: bool = True) -> dict[str, Any]:
    """Return the chat as JSON data. The caller has checked read permission.

    Unless `is_own`, fields private to the owner are left out. Times are RFC 3339. `files` are those of messages.
    """
    chat = session.get_one(Chat, chat_id, populate_existing=True)
    rows = session.execute(
        sa.select(Message, User.name)
        .outerjoin(User, User.id == Message.user_id)
        .where(Message.chat_id == chat_id, Message.status != MessageStatus.DELETED)
        .order_by(Message.id)
    ).all()
    is_ours = chat.import_source == ImportSource.TERTULIA
    ids = {message.id: _known_as(message.id, message.import_id, is_ours) for message, _ in rows}
    files = _files(session, chat_id, ids)
    file_ids = {file["own_id"]: file["id"] for file in files}
    calls = export_calls(session, chat_id, ids, is_own=is_own)
    return {
        "format": FORMAT,
        "chat": {
            "id": _known_as(chat.id, chat.import_id, is_ours),
            "title": chat.title,
            "provider": chat.provider,
            "model_name": chat.model_name,
            "system_prompt": chat.system_prompt if is_own else None,
            "settings": chat.settings.model_dump(exclude_none=True),
            "context_window_size": chat.context_window_size,
            "is_archived": chat.is_archived,
            "project": describe_project(session, chat.project_id, chat.user_id) if is_own else None,
            "pinned_at": chat.pinned_at if is_own else None,
            "head_message_id": ids.get(chat.head_message_id or ""),
            # Of the exported messages only. The usage also includes deleted replies.
            "total_tokens": sum(message.details.tokens.total for message, _ in rows if message.details.tokens),
            "total_cost": sum((message.details.cost or Decimal(0) for message, _ in rows), Decimal(0)),
            "created_at": chat.created_at,
            "last_message_at": chat.last_message_at,
            "tags": [
                {"name": name, "colour": colour}
                for name, colour in session.execute(
                    sa.select(Tag.name, Tag.colour)
                    .join(ChatTag, ChatTag.tag_id == Tag.id)
                    .where(ChatTag.chat_id == chat_id, Tag.deleted_at.is_(None))
                    .order_by(Tag.name)
                )
                if is_own
            ],
        }
        | _state(session, chat_id),
        "messages": [
            _message(session, message, name, ids, file_ids, calls.get(message.id, []))
            | ({} if is_own and not chat.is_handed_over else {"edit_history": [], "provider_metadata": None})
            for message, name in rows
        ],
        "files": [
            {key: value for key, value in file.items() if key not in ("own_id", "storage_path")} for file in files
        ],
    }


def _state(session: Session, chat_id: str) -> dict[str, Any]:
    """Return the state that tools stored, if any."""
    row = session.scalars(sa.select(ChatState).where(ChatState.chat_id == chat_id)).one_or_none()
    return {"state": {"state": row.state, "schema": row.state_schema}} if row is not None else {}


def encode_native(chat: dict[str, Any]) -> bytes:
    return encode(chat)


def stored_files_of(session: Session, chat_id: str) -> dict[str, str]:
    """Map the hashes of the files of a chat's messages to their paths in the store."""
    return {file["sha256"]: file["storage_path"] for file in _files(session, chat_id, {})}


def _known_as(own_id: str, import_id: str | None, is_ours: bool) -> str:
    return import_id if is_ours and import_id else own_id


def _message(
    session: Session,
    message: Message,
    name: str | None,
    ids: dict[str, str],
    file_ids: dict[str, str],
    calls: list[dict[str, Any]],
) -> dict[str, Any]:
    details = message.details.model_dump(mode="json", exclude_none=True, exclude={"run_id", "deleted", "author"})
    parts = with_other_files(message.parts, file_ids) if attachments_in(message.parts) else message.parts
    if calls:
        parts = with_other_calls(parts, {call["own_id"]: call["id"] for call in calls})
    exported_calls = [{name: value for name, value in call.items() if name != "own_id"} for call in calls]
    return ({"tool_executions": exported_calls} if exported_calls else {}) | {
        "id": ids[message.id],
        "role": message.role,
        "status": message.status,
        "previous_message_id": ids.get(message.previous_message_id or ""),
        "parent_message_id": ids.get(message.parent_message_id or ""),
        "thread_level": message.thread_level,
        "context_rule": message.context_rule,
        "user": message.details.author or name,
        "parts": [part.model_dump(mode="json", exclude_none=True) for part in parts],
        "token_count": message.token_count,
        "metadata": details,
        "provider_metadata": message.provider_metadata.model_dump(exclude_none=True)
        if message.provider_metadata
        else None,
        "edit_history": [edit.model_dump(mode="json") for edit in message.edit_history],
        "reactions": sorted(
            session.scalars(sa.select(Reaction.emoji).where(Reaction.message_id == message.id).distinct())
        ),
        "created_at": message.created_at,
        "updated_at": message.updated_at,
    }


def _files(session: Session, chat_id: str, ids: dict[str, str]) -> list[dict[str, Any]]:
    files: dict[str, dict[str, Any]] = {}
    rows = session.execute(
        sa.select(Attachment, Blob.content_hash, Blob.storage_path, MessageAttachment.message_id)
        .join(Blob, Blob.id == Attachment.blob_id)
        .join(MessageAttachment, MessageAttachment.attachment_id == Attachment.id)
        .join(Message, Message.id == MessageAttachment.message_id)
        .where(Message.chat_id == chat_id, Message.status != MessageStatus.DELETED, Attachment.deleted_at.is_(None))
        .order_by(Attachment.id, MessageAttachment.message_id)
    )
    for attachment, sha256, storage_path, message_id in rows:
        file = files.setdefault(
            attachment.id,
            {
                "id": attachment.import_id or attachment.id,
                "own_id": attachment.id,
                "storage_path": storage_path,
                "file_name": attachment.file_name,
                "file_type": attachment.mime_type,
                "file_size": attachment.file_size,
                "sha256": sha256,
                "message_ids": [],
            },
        )
        file["message_ids"].append(ids.get(message_id, message_id))
    return list(files.values())
