"""Factories for chats with messages."""

from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.row_limits import RowLimits
from tertulia.chat.messages import append_message, find_thread, lock_chat
from tertulia.chat.models import MessageRole, MessageStatus
from tertulia.chat.parts import TextPart
from tertulia.chat.schemas import ChatCreate
from tertulia.chat.service import create_chat
from tertulia.ids import ChatId, MessageId


def make_chat(session: Session, *, owner: Actor, messages: int = 0, **fields: object) -> ChatId:
    """Create a chat with messages `message 0`, `message 1`, …, alternating between its owner and a model."""
    chat_id = ChatId(create_chat(session, ChatCreate.model_validate(fields), RowLimits(), owner_id=owner.user_id)["id"])
    for number in range(messages):
        add_message(session, chat_id, f"message {number}", owner=owner, is_reply=bool(number % 2))
    return chat_id


def add_message(
    session: Session,
    chat_id: ChatId,
    text: str,
    *,
    owner: Actor,
    is_reply: bool = False,
    after: MessageId | None = None,
    at_root: bool = False,
    in_thread_of: MessageId | None = None,
) -> MessageId:
    """Append a message after the head, after another message, at the root, or at the end of a thread."""
    chat = lock_chat(session, owner, chat_id)
    thread = find_thread(session, chat_id, in_thread_of) if in_thread_of else None
    previous = thread.last_message_id if thread else after or chat.head_message_id
    return append_message(
        session,
        chat,
        role=MessageRole.ASSISTANT if is_reply else MessageRole.USER,
        parts=[TextPart(text=text)],
        status=MessageStatus.SENT,
        previous_message_id=None if at_root else previous,
        thread=thread,
        author_id=None if is_reply else owner.user_id,
    )
