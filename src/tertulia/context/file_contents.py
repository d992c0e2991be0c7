"""Include attached files in messages: their text between tags, the newest pictures as images."""

from base64 import b64encode
from dataclasses import replace

from sqlalchemy.orm import Session

from tertulia.chat.message_files import FileContent, ends_of_file, files_of_messages, previews_of
from tertulia.context.cutting import cut_file
from tertulia.context.messages import ContextMessage, SentFile

CHARACTERS_A_TOKEN = 4  # upper bound
MIN_PER_FILE = 64  # tokens
MAX_PICTURES = 10  # the newest; earlier ones are only mentioned in text


def with_files(
    session: Session, newest_first: list[ContextMessage], budget: int, *, sees_pictures: bool
) -> list[ContextMessage]:
    """Add their files to messages, and the newest pictures.

    The files of the last question may take the whole budget, those of another message half of it. Once the budget is
    spent no more files are read: older messages are omitted anyway.
    """
    files = files_of_messages(session, [message.message_id for message in newest_first if message.message_id])
    if not files:
        return newest_first
    question = next((message for message in newest_first if message.role == "user"), None)
    pictures_left = MAX_PICTURES if sees_pictures else 0
    spent = 0
    messages = []
    for message in newest_first:
        is_read = spent <= budget or message is question
        own = files.get(message.message_id or "", []) if is_read else []
        loaded, pictures = [], []
        room = budget if message is question else max(budget // 2 // max(len(own), 1), MIN_PER_FILE)
        for file in own:
            if file.is_picture and pictures_left > 0 and file.has_preview:
                pictures.append(file.attachment_id)
                pictures_left -= 1
            else:
                loaded.append(_loaded(session, file, room))
        expanded = replace(message, files=tuple(loaded), pictures=tuple(pictures)) if own else message
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


def _loaded(session: Session, file: FileContent, room: int) -> SentFile:
    """Load a file as text between tags, so that a model does not take it for the person's message.

    Of a text that is longer than the room only both ends are loaded.
    """
    name = file.file_name.replace('"', "'")
    if not file.has_text:
        reason = "a picture that this model cannot see" if file.is_picture else "no readable text"
        return SentFile(file.attachment_id, name, "", "", 0, f'<file name="{name}">[{reason}]</file>')
    head, tail, length = ends_of_file(session, file.attachment_id, room * CHARACTERS_A_TOKEN)
    loaded = SentFile(file.attachment_id, name, _without_marks(head), _without_marks(tail), length, "")
    return cut_file(loaded, room)


def _without_marks(text: str) -> str:
    return text.replace("</file>", "</ file>")
