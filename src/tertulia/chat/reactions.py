"""Reactions: emoji on a message, each at most once per person."""

import unicodedata

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.chat.errors import NotAnEmoji, TooManyReactions
from tertulia.chat.messages import announce_message, lock_place
from tertulia.chat.models import Reaction
from tertulia.chat.schemas import MessageRead
from tertulia.db import insert_if_absent
from tertulia.ids import MessageId
from tertulia.realtime.models import Operation

MAX_A_PERSON = 20  # emoji on one message
MAX_LENGTH = 32
# Unicode categories of emoji: symbols, skin tones and joiners. Keycap emoji also contain a digit.
_CATEGORIES = {"So", "Sk", "Sm", "Mn", "Me", "Cf", "Po"}
_KEY = "\u20e3"


def add_reaction(session: Session, actor: Actor, message_id: MessageId, emoji: str) -> MessageRead:
    """Add a reaction; adding it again changes nothing. Raises NotAnEmoji, TooManyReactions, MessageNotFound."""
    if not is_emoji(emoji):
        raise NotAnEmoji
    _, chat = lock_place(session, actor, message_id)  # announcements stay in order
    own_count = sa.select(sa.func.count()).where(Reaction.message_id == message_id, Reaction.user_id == actor.user_id)
    if (session.scalar(own_count.where(Reaction.emoji != emoji)) or 0) >= MAX_A_PERSON:
        raise TooManyReactions(MAX_A_PERSON)
    insert_if_absent(
        session, Reaction, message_id=message_id, user_id=actor.user_id, emoji=emoji, created_at=clock.now()
    )
    return announce_message(session, chat.owner_id, message_id, Operation.UPDATED, with_chat=False)


def remove_reaction(session: Session, actor: Actor, message_id: MessageId, emoji: str) -> MessageRead:
    if not is_emoji(emoji):
        raise NotAnEmoji
    _, chat = lock_place(session, actor, message_id)  # announcements stay in order
    session.execute(
        sa.delete(Reaction).where(
            Reaction.message_id == message_id, Reaction.user_id == actor.user_id, Reaction.emoji == emoji
        )
    )
    return announce_message(session, chat.owner_id, message_id, Operation.UPDATED, with_chat=False)


def is_emoji(text: str) -> bool:
    if not 0 < len(text) <= MAX_LENGTH:
        return False
    kinds = {unicodedata.category(letter) for letter in text}
    if text[-1] == _KEY:
        return text[0] in "0123456789#*" and kinds <= {"Nd", "Po", "Mn", "Me"}
    return bool(kinds & {"So", "Sm"} or text[0] in "‼⁉〰〽") and kinds <= _CATEGORIES
