"""Include attached files in messages: their text between tags, the newest pictures as images."""

from base64 import b64encode
from dataclasses import replace

from sqlalchemy.orm import Session

from tertulia.chat.message_files import FileContent, files_of_messages, previews_of, text_of_file
from tertulia.context.cutting import shorten
from tertulia.context.messages import ContextMessage

CHARACTERS_A_TOKEN = 4  # upper bound
MIN_PER_FILE = 64  # tokens
MAX_PICTURES = 10  # the newest; earlier ones are only mentioned in text


def with_files(
    session: Session, newest_first: list[ContextMessage], budget: int, *, sees_pictures: bool
) -> list[ContextMessage]:
    """Add the text of files to their messages, at most half of the budget per message, and the newest pictures.

    Once the budget is spent no more files are read: older messages are omitted anyway.
    """
    files = files_of_messages(session, [message.message_id for message in newest_first if message.message_id])
    if not files:
        return newest_first
    pictures_left = MAX_PICTURES if sees_pictures else 0
    spent = 0
    messages = []
    for message in newest_first:
        own = files.get(message.message_id or "", []) if spent <= budget else []
        texts, pictures = [message.content], []
        for file in own:
            if file.is_picture and pictures_left > 0 and file.has_preview:
                pictures.append(file.attachment_id)
                pictures_left -= 1
            else:
                texts.append(_told(session, file, budget // 2 // len(own)))
        expanded = (
            replace(message, content="\n\n".join(filter(None, texts)), pictures=tuple(pictures)) if own else message
        )
        spent += expanded.tokens
        messages.append(expanded)
    return messages


def pictures_of(session: Session, messages: list[ContextMessage]) -> dict[str, str]:
    """Return data URLs of the pictures that the messages name, by attachment id."""
    attachment_ids = [attachment_id for message in messages for attachment_id in message.pictures]
    previews = previews_of(session, attachment_ids) if attachment_ids else {}
    return {
        attachment_id: f"data:image/jpeg;base64,{b64encode(content).decode()}"
        for attachment_id, content in previews.items()
    }


def _told(session: Session, file: FileContent, room: int) -> str:
    """Return a file as text between tags, so that a model does not take it for the person's message."""
    name = file.file_name.replace('"', "'")
    if not file.has_text:
        reason = "a picture that this model cannot see" if file.is_picture else "no readable text"
        return f'<file name="{name}">[{reason}]</file>'
    room = max(room, MIN_PER_FILE)
    text = text_of_file(session, file.attachment_id, room * CHARACTERS_A_TOKEN).replace("</file>", "</ file>")
    return f'<file name="{name}">\n{shorten(text, room)}\n</file>'
