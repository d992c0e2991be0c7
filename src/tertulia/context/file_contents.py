"""Include attached files in messages: their text between tags, the newest pictures as images."""

from base64 import b64encode
from collections.abc import Collection, Sequence
from dataclasses import replace
from math import ceil

from sqlalchemy.orm import Session

from tertulia.chat.message_files import FileContent, ends_of_file, files_of_messages, previews_of, stored_paths
from tertulia.context.cutting import cut_file, excerpt_of, loaded_file
from tertulia.context.excerpts import NO_EXCERPTS, Excerpts, escape_tags
from tertulia.context.messages import ContextMessage, Passage, SentFile, WholeFile
from tertulia.providers.abilities import InputKind

CHARACTERS_A_TOKEN = 4  # upper bound
MIN_PER_FILE = 64  # tokens
MAX_PICTURES = 10  # the newest; earlier ones are only mentioned in text


# What vendors count for files that they read, roughly.
TOKENS_A_PAGE = 2000
TOKENS_A_SECOND = {"audio": 32, "video": 300}
BYTES_A_SECOND = {"audio": 16_000, "video": 125_000}  # if it is not known how long a file is
MAX_WHOLE_FILES = 10
MAX_WHOLE_BYTES = 20 * 1024 * 1024  # of all together; vendors take 20 to 50 MB
MAX_WHOLE_PAGES = 100


def with_files(
    session: Session,
    newest_first: list[ContextMessage],
    budget: int,
    *,
    sees_pictures: bool,
    inputs: Collection[InputKind] = (),
    excerpts: Excerpts = NO_EXCERPTS,
) -> list[ContextMessage]:
    """Add their files to messages, and the newest pictures.

    Files of the kinds in `inputs` are sent as they are, as far as there is room, and others as text.

    The files of the last question may take the whole budget, those of another message half of it. Once the budget is
    spent no more files are read: older messages are omitted anyway.
    """
    files = files_of_messages(session, [message.message_id for message in newest_first if message.message_id])
    if not files:
        return newest_first
    question = next((message for message in newest_first if message.role == "user"), None)
    pictures_left = MAX_PICTURES if sees_pictures else 0
    whole_left, bytes_left = MAX_WHOLE_FILES, MAX_WHOLE_BYTES
    spent = 0
    messages = []
    for message in newest_first:
        own = files.get(message.message_id or "", [])
        is_question = message is question
        is_read = spent <= budget or is_question or message.rule == "pinned"
        loaded, pictures = [], []
        # Of a message with several files each may take its part, of other messages of one half.
        room = max((budget if is_question else budget // 2) // max(len(own), 1), MIN_PER_FILE)
        for file in own:
            if file.is_picture and pictures_left > 0 and file.has_preview:
                pictures.append(file.attachment_id)
                pictures_left -= 1
            else:
                content = _loaded(session, file, room if is_read else 0, excerpts.of_files.get(file.attachment_id, ()))
                whole = _whole(file, inputs) if message.role == "user" and is_read else None
                if whole is not None and whole.tokens <= room and whole_left and file.size_bytes <= bytes_left:
                    content = replace(content, whole=whole)
                    whole_left, bytes_left = whole_left - 1, bytes_left - file.size_bytes
                # The files of the question share what its words leave, which is not known yet.
                loaded.append(content if is_question else cut_file(content, room))
        loaded += [excerpt_of(later) for later in excerpts.for_question] if is_question else []
        expanded = replace(message, files=tuple(loaded), pictures=tuple(pictures)) if own or loaded else message
        spent += min(expanded.tokens, budget // 2) if is_question else expanded.tokens
        messages.append(expanded)
    return messages


def _whole(file: FileContent, inputs: Collection[InputKind]) -> WholeFile | None:
    """Return how a file counts if the model takes it as it is; None if it does not."""
    kind = "pdf" if file.media_type == "application/pdf" else file.media_type.partition("/")[0]
    if kind not in inputs or kind == "picture" or file.is_damaged:
        return None
    if kind == "pdf":
        # One whose pages could not be counted is locked or damaged, and vendors refuse it.
        is_short = file.pages is not None and file.pages <= MAX_WHOLE_PAGES
        return WholeFile(file.media_type, (file.pages or 0) * TOKENS_A_PAGE) if is_short else None
    seconds = file.duration_s or file.size_bytes / BYTES_A_SECOND[kind]
    return WholeFile(file.media_type, ceil(seconds * TOKENS_A_SECOND[kind]))


def paths_of(session: Session, messages: list[ContextMessage]) -> dict[str, str]:
    """Return where the bytes of the files are that are sent as they are, by attachment id."""
    ids = [file.attachment_id for message in messages for file in message.files if file.whole is not None]
    return stored_paths(session, ids) if ids else {}


def pictures_of(session: Session, messages: list[ContextMessage]) -> dict[str, str]:
    """Return data URLs of the pictures that the messages name, by attachment id."""
    attachment_ids = [attachment_id for message in messages for attachment_id in message.pictures]
    previews = previews_of(session, attachment_ids) if attachment_ids else {}
    return {
        attachment_id: f"data:image/jpeg;base64,{b64encode(content).decode()}"
        for attachment_id, content in previews.items()
    }


def _loaded(session: Session, file: FileContent, room: int, passages: Sequence[Passage]) -> SentFile:
    """Load a file as text between tags, so that a model does not take it for the person's message.

    Of a text that is longer than the room only both ends are loaded, in addition to `passages` for the question.
    Without room only its name is sent.
    """
    name = file.file_name.replace('"', "'")

    def noted(note: str) -> SentFile:
        return SentFile(file.attachment_id, name, "", "", 0, f'<file name="{name}">[{note}]</file>')

    if not file.has_text:
        return noted("a picture that this model cannot see" if file.is_picture else "no readable text")
    if room == 0:
        return noted("left out: no room")
    head, tail, length = ends_of_file(session, file.attachment_id, room * CHARACTERS_A_TOKEN)
    if length == 0:
        return noted("empty")
    sent = SentFile(
        file.attachment_id, name, escape_tags(head), escape_tags(tail), length, "", passages=tuple(passages)
    )
    return loaded_file(sent)
