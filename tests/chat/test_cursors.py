"""Tests for paging while others write: no item appears twice, and no existing item is skipped."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.chat.file_uses import MessageFileUses
from tertulia.chat.service import chat_key, delete_chat, list_chats, list_messages
from tertulia.files.service import file_key, list_attachments
from tertulia.ids import ChatId
from tests.factories.chats import add_message, make_chat
from tests.factories.files import make_attachment

# Writes between two pages: each adds an item, but a number deletes that chat in the list of chats.
BETWEEN = st.lists(st.one_of(st.none(), st.integers(0, 11)), min_size=0, max_size=8)
HARD = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@HARD
@given(BETWEEN)
def test_paging_chats_neither_repeats_nor_skips(session: Session, alice: Actor, between: list[int | None]) -> None:
    with session.begin_nested() as undo:
        existing = [make_chat(session, owner=alice, title=f"chat {number}") for number in range(12)]
        seen: list[str] = []
        deleted: set[str] = set()
        after = None
        while page := list_chats(session, alice, after=after, limit=3):
            seen += [chat["id"] for chat in page]
            after = chat_key(page[-1])
            for choice in between[:2]:
                if choice is None:
                    make_chat(session, owner=alice, title="new")
                elif existing[choice] not in deleted:
                    delete_chat(session, alice, ChatId(existing[choice]))
                    deleted.add(existing[choice])
            between = between[2:]
        assert len(seen) == len(set(seen))
        assert set(existing) - deleted <= set(seen)
        undo.rollback()


@HARD
@given(BETWEEN)
def test_paging_a_branch_neither_repeats_nor_skips(session: Session, alice: Actor, between: list[int | None]) -> None:
    with session.begin_nested() as undo:
        chat_id = make_chat(session, owner=alice, messages=12)
        existing = [message["id"] for message in list_messages(session, alice, chat_id)[0]]
        seen: list[str] = []
        page, older = list_messages(session, alice, chat_id, limit=3)
        while True:
            seen += [message["id"] for message in page]
            if older is None:
                break
            for _ in between[:2]:
                add_message(session, chat_id, "new", owner=alice)
            between = between[2:]
            page, older = list_messages(session, alice, chat_id, leaf=older, limit=3)  # type: ignore[arg-type]
        assert seen == existing
        undo.rollback()


@HARD
@given(BETWEEN, st.sampled_from(["newest", "largest", "name"]))
def test_paging_files_neither_repeats_nor_skips(
    session: Session, alice: Actor, between: list[int | None], order: str
) -> None:
    with session.begin_nested() as undo:
        existing = {
            make_attachment(session, owner=alice, name=f"{number % 4}.txt", size=1 + number % 3) for number in range(12)
        }
        seen: list[str] = []
        after = None
        while page := list_attachments(session, alice, MessageFileUses(), order=order, after=after, limit=3):  # type: ignore[arg-type]
            seen += [file["id"] for file in page]
            after = file_key(page[-1], order)  # type: ignore[arg-type]
            for _ in between[:2]:
                make_attachment(session, owner=alice, name="new.txt", size=2)
            between = between[2:]
        assert len(seen) == len(set(seen))
        assert existing <= set(seen)
        undo.rollback()
