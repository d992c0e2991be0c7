"""What a model is told of the files that messages carry: their words between marks, the newest pictures as they are."""

from base64 import b64encode
from dataclasses import replace

from sqlalchemy.orm import Session

from tertulia.context.cutting import shorten
from tertulia.context.messages import ContextMessage
from tertulia.files.of_messages import FileContent, files_of_messages, previews_of, text_of_file

CHARACTERS_A_TOKEN = 4  # as many as can fit at most
LEAST_OF_A_FILE = 64  # tokens
MOST_PICTURES = 10  # the newest; those before them are told of in words


def with_files(
    session: Session, newest_first: list[ContextMessage], budget: int, *, sees_pictures: bool
) -> list[ContextMessage]:
    """The messages with what their files say, each at most half of the room, and with the newest pictures.

    Nothing more is read once the room is spent: what is older is left out anyway.
    """
    files = files_of_messages(session, [message.message_id for message in newest_first if message.message_id])
    if not files:
        return newest_first
    pictures_left = MOST_PICTURES if sees_pictures else 0
    spent = 0
    made = []
    for message in newest_first:
        own = files.get(message.message_id or "", []) if spent <= budget else []
        texts, pictures = [message.content], []
        for file in own:
            if file.is_picture and pictures_left > 0 and file.has_preview:
                pictures.append(file.attachment_id)
                pictures_left -= 1
            else:
                texts.append(_told(session, file, budget // 2 // len(own)))
        told = replace(message, content="\n\n".join(filter(None, texts)), pictures=tuple(pictures)) if own else message
        spent += told.tokens
        made.append(told)
    return made


def pictures_of(session: Session, messages: list[ContextMessage]) -> dict[str, str]:
    """Data URLs of the pictures that the messages name."""
    wanted = [one for message in messages for one in message.pictures]
    found = previews_of(session, wanted) if wanted else {}
    return {one: f"data:image/jpeg;base64,{b64encode(content).decode()}" for one, content in found.items()}


def _told(session: Session, file: FileContent, room: int) -> str:
    """A file in words, between marks, so that a model does not take it for what the person says."""
    name = file.file_name.replace('"', "'")
    if not file.has_text:
        what = "a picture, which this model does not see" if file.is_picture else "no text that could be read"
        return f'<file name="{name}">[{what}]</file>'
    room = max(room, LEAST_OF_A_FILE)
    text = text_of_file(session, file.attachment_id, room * CHARACTERS_A_TOKEN).replace("</file>", "</ file>")
    return f'<file name="{name}">\n{shorten(text, room)}\n</file>'
