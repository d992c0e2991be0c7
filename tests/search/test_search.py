"""Test text search on both databases: matches, permissions, deleted content, paging and the index job."""

from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.chat.branches import delete_message, restore_message
from tertulia.chat.indexing import BATCH_SIZE, SETTING, build_index
from tertulia.chat.models import Message
from tertulia.chat.schemas import ChatUpdate
from tertulia.chat.service import delete_chat, update_chat
from tertulia.errors import Invalid
from tertulia.ids import ChatId, MessageId
from tertulia.jobs.models import InstanceSetting
from tertulia.search.errors import SearchTooSlow
from tertulia.search.service import SearchFilters, search
from tertulia.search_index.models import SearchDocument
from tertulia.search_index.words import words_of
from tests.conftest import SignIn
from tests.factories.chats import add_message, make_chat
from tests.fakes.live_server import Client
from tests.fakes.scripted_provider import Finish, ScriptedProvider, Text

TEXTS = [
    "Bread rises because yeast breathes.",
    "The breadth of a river, and butter.",
    "機械学習は楽しい",
    "東京に行く",
    "한국어를 배우다",
    "Crème brûlée for dessert",
    "rises slowly the bread",
    "An e-mail to ana@example.org about 3.14",
]


def found(session: Session, typed: str, actor: Actor, **narrowed: Any) -> list[str]:
    hits, _ = search(session, actor, typed, SearchFilters(**narrowed), order="newest", limit=200)
    return ["".join(piece["text"] for piece in hit["snippet"]) for hit in hits]


@pytest.fixture
def library(session: Session, alice: Actor) -> ChatId:
    chat_id = make_chat(session, owner=alice, title="Kitchen talk")
    for number, text in enumerate(TEXTS):
        add_message(session, chat_id, text, owner=alice, is_reply=bool(number % 2))
    return chat_id


@pytest.mark.parametrize(
    ("typed", "texts"),
    [
        ("bread", [6, 1, 0]),
        ("BREAD ris", [6, 0]),
        ('"bread rises"', [0]),
        ('"rises slowly"', [6]),
        ("bread -butter", [6, 0]),
        ('bread -"bread rises" -breadth', [6]),
        ("東", [3]),
        ("東京", [3]),
        ("機械", [2]),
        ("械学習", [2]),
        ("京東", []),
        ("한국", [4]),
        ("creme", [5]),
        ("CRÈME brulee", [5]),
        ("e-mail", [7]),
        ("ana@example.org", [7]),
        ("3.14", [7]),
        ("bread from:me", [6, 0]),
        ("bread from:assistant", [1]),
        ("in:kitchen bread", [6, 1, 0]),
        ("in:garage bread", []),
        ("bread after:2020 before:2100", [6, 1, 0]),
        ("bread before:2020", []),
        ("bread AND OR NOT", []),
        ("nothing of this", []),
        ("", []),
        ("from:me", []),
        ('"', []),
        ("-bread", []),
    ],
)
def test_messages_that_match_the_search_are_found(
    session: Session, alice: Actor, library: ChatId, typed: str, texts: list[int]
) -> None:
    assert found(session, typed, alice) == [TEXTS[number] for number in texts]


def test_titles_are_found_and_follow_renames(session: Session, alice: Actor, library: ChatId) -> None:
    hits, _ = search(session, alice, "kitchen", SearchFilters())
    assert [(hit["message"], hit["chat"]["title"]) for hit in hits] == [(None, "Kitchen talk")]
    update_chat(session, alice, library, ChatUpdate(title="Garden talk"))
    assert found(session, "kitchen", alice) == []
    assert found(session, "garden", alice) == ["Garden talk"]


def test_a_user_does_not_find_texts_of_others(session: Session, alice: Actor, bob: Actor, library: ChatId) -> None:
    for typed in ("bread", "kitchen", f"xu{alice.user_id.replace('-', '')}", f"xc{library.replace('-', '')} bread"):
        assert found(session, typed, bob) == []
    with pytest.raises(Invalid, match="This chat does not exist"):
        found(session, "bread", bob, chat_id=library)


def test_deleted_messages_are_not_found_until_restored(session: Session, alice: Actor, library: ChatId) -> None:
    message_id = session.scalars(sa.select(Message.id).where(Message.content == TEXTS[0])).one()
    delete_message(session, alice, MessageId(message_id))
    assert found(session, "yeast", alice) == []
    restore_message(session, alice, MessageId(message_id))
    assert found(session, "yeast", alice) == [TEXTS[0]]
    delete_chat(session, alice, library)
    assert found(session, "yeast", alice) == []


def test_archived_chats_can_be_excluded(session: Session, alice: Actor, library: ChatId) -> None:
    update_chat(session, alice, library, ChatUpdate(is_archived=True))
    assert found(session, "yeast", alice) == [TEXTS[0]]
    assert found(session, "yeast", alice, archived=False) == []
    assert found(session, "yeast", alice, archived=True) == [TEXTS[0]]


def test_a_text_with_more_matches_ranks_first(session: Session, alice: Actor) -> None:
    chat_id = make_chat(session, owner=alice)
    add_message(session, chat_id, "bread bread bread", owner=alice)
    add_message(session, chat_id, "once upon a time there was some bread, and so much else too", owner=alice)
    hits, following = search(session, alice, "bread", SearchFilters())
    assert next("".join(piece["text"] for piece in hit["snippet"]) for hit in hits) == "bread bread bread"
    assert following is None


def test_a_title_filter_matches_although_many_messages_have_its_words(
    session: Session, alice: Actor, library: ChatId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tertulia.search.service.RANKED", 2)
    chat_id = make_chat(session, owner=alice, title="another")
    for _ in range(3):
        add_message(session, chat_id, "the kitchen", owner=alice)
    assert found(session, "yeast in:kitchen", alice) == [TEXTS[0]]


def test_a_long_text_is_searched_to_its_end_and_listed_once(session: Session, alice: Actor) -> None:
    chat_id = make_chat(session, owner=alice)
    add_message(session, chat_id, "common " * 9000 + "needle", owner=alice, is_reply=True)
    assert len(found(session, "needle", alice)) == 1
    assert len(found(session, "common", alice)) == 1


def test_existing_content_is_indexed_by_the_job(session: Session, alice: Actor, library: ChatId) -> None:
    make_chat(session, owner=alice, messages=BATCH_SIZE)
    session.execute(sa.delete(SearchDocument))
    session.execute(sa.delete(InstanceSetting).where(InstanceSetting.name == SETTING))
    assert found(session, "yeast", alice) == []
    steps = 0
    while not build_index(session).is_built:
        steps += 1
    assert steps == 2
    assert found(session, "yeast", alice) == [TEXTS[0]]
    assert found(session, "kitchen", alice) == ["Kitchen talk"]
    assert session.scalar(sa.select(sa.func.count()).select_from(SearchDocument)) == len(TEXTS) + BATCH_SIZE + 2


def test_a_search_that_takes_too_long_is_an_error(
    session: Session, alice: Actor, library: ChatId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tertulia.search.service.LIMIT_S", 0.001)
    monkeypatch.setattr("tertulia.db.limits.STEPS", 1)
    make_chat(session, owner=alice, messages=2000)
    with pytest.raises(SearchTooSlow):
        for _ in range(200):
            found(session, "message", alice)
    session.rollback()


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(text=st.text(alphabet="ab éß東京한1 .-_'\"*:", min_size=1, max_size=40), at=st.integers(0, 40))
@example(text="1é1a b", at=0)  # PostgreSQL splits this word
def test_every_word_of_every_text_is_found(session: Session, alice: Actor, text: str, at: int) -> None:
    """Find each word of a random text. No search text raises an error."""
    chat_id = make_chat(session, owner=alice)
    message_id = add_message(session, chat_id, text, owner=alice)
    for typed in {text, text[at:], *words_of(text)}:
        hits, _ = search(session, alice, typed, SearchFilters(chat_id=chat_id), order="newest", limit=200)
        if words_of(text) and typed in words_of(text):
            assert [hit["message"]["id"] for hit in hits if hit["message"]] == [message_id], typed


def test_results_are_paged_over_http(ana: Client, provider: ScriptedProvider) -> None:
    chat = ana.chat(title="Numbers")
    for number in range(5):
        ana.say(chat["id"], f"needle {number}", reply=False)
    seen, cursor = [], None
    while True:
        params = {"q": "needle", "order": "newest", "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = ana.api("GET", "/search", params=params)
        seen += ["".join(piece["text"] for piece in hit["snippet"]) for hit in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"needle {number}" for number in range(4, -1, -1)]
    for length, status in ((500, 200), (501, 422)):
        ana.api("GET", "/search", params={"q": "x" * length}, expect=status)


def test_a_finished_reply_is_found_by_its_reader_only(ana: Client, provider: ScriptedProvider, sign_in: SignIn) -> None:
    provider.play([Text("An unmistakable answer."), Finish()])
    sent = ana.say(ana.chat()["id"], "Say something")
    ana.finished(sent["run"]["id"])
    items = ana.api("GET", "/search", params={"q": "unmistak"})["items"]
    assert [hit["message"]["id"] for hit in items] == [sent["reply"]["id"]]
    assert [piece["text"] for piece in items[0]["snippet"] if piece["is_hit"]] == ["unmistakable"]
    assert sign_in("bob").api("GET", "/search", params={"q": "unmistak"})["items"] == []
    for later in (datetime(2100, 1, 1, tzinfo=UTC).isoformat(), "2100-01-01T00:00:00", "2100-01-01"):
        assert ana.api("GET", "/search", params={"q": "unmistak", "since": later})["items"] == []
    assert ana.api("GET", "/search", params={"q": "unmistak", "role": "user"})["items"] == []
