"""Test the conditions of permissions alone: each share grants its own object, to its own user, while it is valid."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import Share
from tertulia.chat.access import may_share_chat, may_write_chat, shared_chat_ids
from tertulia.chat.models import Chat, DraftChat
from tertulia.ids import new_id
from tests.factories.chats import make_chat
from tests.factories.drafts import make_draft


def grant(session: Session, owner: Actor, user: Actor, **fields: Any) -> str:
    share = {"can_read": True, "can_write": True, "can_share": False} | fields
    row = Share(
        id=new_id(),
        owner_id=owner.user_id,
        shared_with_user_id=user.user_id,
        token_hash=new_id().encode()[:32].ljust(32, b"."),
        **share,
    )
    session.add(row)
    session.flush()
    return row.id


def allowed(session: Session, user: Actor, condition: Any) -> set[str]:
    query = sa.select(Chat.id).where(condition(Chat.id, Chat.user_id))
    return set(session.scalars(query, {"actor_id": user.user_id}))


def readable(session: Session, user: Actor) -> set[str]:
    return set(session.execute(shared_chat_ids(), {"actor_id": user.user_id}).scalars())


def test_a_share_grants_its_own_chat_to_its_own_user(session: Session, alice: Actor, bob: Actor) -> None:
    shared, own = make_chat(session, owner=alice), make_chat(session, owner=alice)
    of_bob = make_chat(session, owner=bob)
    grant(session, alice, bob, chat_id=shared)
    assert allowed(session, bob, may_write_chat) == {shared, of_bob}
    assert allowed(session, bob, may_share_chat) == {of_bob}
    assert allowed(session, alice, may_write_chat) == {shared, own}
    assert readable(session, bob) == {shared}
    assert readable(session, alice) == set()


def test_a_share_of_a_draft_grants_the_chats_about_it(session: Session, alice: Actor, bob: Actor) -> None:
    drafts = [make_draft(session, owner=alice) for _ in range(2)]
    make_chat(session, owner=alice)
    about = sa.select(DraftChat.chat_id).where(DraftChat.draft_id == drafts[0])
    chats = set(session.scalars(about))
    assert chats
    grant(session, alice, bob, draft_id=drafts[0], can_share=True)
    for condition in (may_write_chat, may_share_chat):
        assert allowed(session, bob, condition) == chats
    assert readable(session, bob) == chats


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("fields", "reads", "writes"),
    [
        ({}, True, True),
        ({"can_write": False}, True, False),
        ({"can_read": False}, False, True),
        ({"is_active": False}, False, False),
        ({"expires_at": clock.now() + HOUR}, True, True),
        ({"expires_at": clock.now() - HOUR}, False, False),
    ],
)
def test_a_share_grants_what_it_names_while_it_is_valid(
    session: Session, alice: Actor, bob: Actor, fields: dict[str, Any], reads: bool, writes: bool
) -> None:
    chat_id = make_chat(session, owner=alice)
    grant(session, alice, bob, chat_id=chat_id, **fields)
    assert (readable(session, bob) == {chat_id}) is reads
    assert (allowed(session, bob, may_write_chat) == {chat_id}) is writes
