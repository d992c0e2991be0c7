"""Export one chat as a file: the current branch as Markdown or an HTML page, or the whole chat as JSON."""

import html
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User
from tertulia.chat.message_files import previews_of
from tertulia.chat.models import Message, MessageRole
from tertulia.chat.parts import (
    CodePart,
    FilePart,
    ImagePart,
    Part,
    ReasoningPart,
    RefusalPart,
    SourcePart,
    TextPart,
    ToolCallPart,
    attachments_in,
)
from tertulia.chat.queries import BRANCH_IDS
from tertulia.chat.schemas import ChatRead
from tertulia.chat.service import get_chat
from tertulia.ids import ChatId
from tertulia.transfer.native import encode_native, native_chat
from tertulia.transfer.pages import file_name, page, rendered

ChatFormat = Literal["markdown", "html", "json"]

READ_AT_ONCE = 500


@dataclass(frozen=True)
class ExportedChat:
    file_name: str
    media_type: str
    content: bytes


@dataclass(frozen=True)
class _Said:
    role: MessageRole
    who: str
    created_at: datetime
    parts: Sequence[Part]


def export_chat(session: Session, actor: Actor, chat_id: ChatId, chat_format: ChatFormat) -> ExportedChat:
    """Export a chat. Raises ChatNotFound."""
    chat = get_chat(session, actor, chat_id)
    ending, media_type, write = FORMATS[chat_format]
    return ExportedChat(f"{file_name(chat['title'], 'chat')}.{ending}", media_type, write(session, chat))


def _branch(session: Session, chat: ChatRead) -> list[_Said]:
    if chat["head_message_id"] is None:
        return []
    ids = [
        message_id
        for message_id, *_ in BRANCH_IDS.all(session, chat_id=chat["id"], leaf=chat["head_message_id"], links=2**31 - 1)
    ][::-1]
    messages: list[_Said] = []
    for start in range(0, len(ids), READ_AT_ONCE):
        batch = ids[start : start + READ_AT_ONCE]
        rows = {
            row.id: row
            for row in session.execute(
                sa.select(Message.id, Message.role, User.name, Message.details, Message.created_at, Message.parts)
                .outerjoin(User, User.id == Message.user_id)
                .where(Message.id.in_(batch))
            )
        }
        for _, role, name, details, created_at, parts in (rows[message_id] for message_id in batch):
            who = (name or "User") if role is MessageRole.USER else (details.model or "Model")
            messages.append(_Said(role, who, created_at, parts))
    return messages


def _as_markdown(chat: ChatRead, branch: list[_Said]) -> str:
    blocks = [f"# {chat['title']}"]
    for message in branch:
        blocks.append(f"## {message.who}, {message.created_at:%Y-%m-%d %H:%M} UTC")
        blocks += [_part_as_markdown(part) for part in message.parts]
    return "\n\n".join(blocks) + "\n"


def _part_as_markdown(part: Part) -> str:
    match part:
        case TextPart():
            return part.text
        case CodePart():
            # A fence longer than any in the code, so that the code cannot end it.
            longest = max((len(run) for run in re.findall(r"`+", part.code)), default=0)
            fence = "`" * max(3, longest + 1)
            return f"{fence}{part.language}\n{part.code}\n{fence}"
        case ImagePart():
            return f"![{part.alt or ''}]({part.url})" if part.url else f"*[{part.alt or 'picture'}]*"
        case FilePart():
            return f"*[{part.file_name}]*"
        case ReasoningPart():
            return "\n".join(f"> {line}" for line in part.text.splitlines())
        case SourcePart():
            return f"[{part.title or part.url}]({part.url})"
        case RefusalPart():
            return f"*The model refused to answer.* {part.text}".rstrip()
        case ToolCallPart():
            return f"*[called {part.tool_name}]*"


def _as_page(session: Session, chat: ChatRead, branch: list[_Said]) -> str:
    previews = previews_of(session, [file for message in branch for file in attachments_in(list(message.parts))])
    pictures = {file: f"data:image/jpeg;base64,{b64encode(content).decode()}" for file, content in previews.items()}
    articles = []
    for message in branch:
        body = "".join(_part_as_html(part, pictures) for part in message.parts)
        who = f'{html.escape(message.who)}, <time datetime="{message.created_at.isoformat()}">{message.created_at:%Y-%m-%d %H:%M} UTC</time>'
        articles.append(f'<article class="{message.role.value}"><p class="who">{who}</p>{body}</article>')
    return page(chat["title"], f"{chat['message_count']} messages", "".join(articles))


def _part_as_html(part: Part, pictures: Mapping[str, str]) -> str:
    match part:
        case TextPart():
            return rendered(part.text)
        case ReasoningPart():
            return f"<details><summary>Thought</summary>{rendered(part.text)}</details>"
        case CodePart():
            return f"<pre><code>{html.escape(part.code)}</code></pre>"
        case ImagePart():
            # A stored picture is embedded as a thumbnail. An external one is a link, so it never loads automatically.
            alt = html.escape(part.alt or "Picture")
            if part.attachment_id is not None:
                source = pictures.get(part.attachment_id)
                return f'<p><img src="{source}" alt="{alt}"></p>' if source else f"<p><em>{alt}</em></p>"
            return f'<p><a href="{html.escape(part.url or "")}" rel="noopener noreferrer nofollow">{alt}</a></p>'
        case FilePart():
            return f"<p><em>{html.escape(part.file_name)}</em></p>"
        case SourcePart():
            return f'<p><a href="{html.escape(part.url)}">{html.escape(part.title or part.url)}</a></p>'
        case RefusalPart():
            return f"<p><em>The model refused to answer.</em> {html.escape(part.text)}</p>"
        case ToolCallPart():
            return f"<p><em>called {html.escape(part.tool_name)}</em></p>"


def _write_markdown(session: Session, chat: ChatRead) -> bytes:
    return _as_markdown(chat, _branch(session, chat)).encode("utf-8", "replace")


def _write_page(session: Session, chat: ChatRead) -> bytes:
    return _as_page(session, chat, _branch(session, chat)).encode("utf-8", "replace")


def _write_json(session: Session, chat: ChatRead) -> bytes:
    return encode_native(native_chat(session, chat["id"], is_own=chat["owner"] is None))


class ChatWriter(NamedTuple):
    ending: str  # of the file name
    media_type: str
    write: Callable[[Session, ChatRead], bytes]


FORMATS: Mapping[ChatFormat, ChatWriter] = {
    "markdown": ChatWriter("md", "text/markdown; charset=utf-8", _write_markdown),
    "html": ChatWriter("html", "text/html; charset=utf-8", _write_page),
    "json": ChatWriter("json", "application/json", _write_json),
}
