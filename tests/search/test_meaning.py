"""Test semantic search: results, permissions, building the index, and failures of the model."""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.chat.branches import delete_message, restore_message
from tertulia.chat.indexing import index_files
from tertulia.chat.message_files import find_attachable, link_attachments
from tertulia.chat.models import Message
from tertulia.chat.schemas import ChatUpdate
from tertulia.chat.service import delete_chat, update_chat
from tertulia.db import Database
from tertulia.errors import Invalid
from tertulia.ids import ChatId, MessageId, new_id
from tertulia.providers.local.fetch import FetchFailed
from tertulia.search.meaning import embedder as embedding
from tertulia.search.meaning import nearest
from tertulia.search.meaning.builder import PassageBuilder
from tertulia.search.meaning.embedder import Embedder
from tertulia.search.meaning.models import DIMENSIONS, SearchPassage
from tertulia.search.meaning.nearest import Meanings, code_of, nearest_of_files
from tertulia.search.meaning.passages import (
    PASSAGES_A_TEXT,
    EmbeddedPassage,
    newest_document,
    next_unembedded,
    passages_of,
    passages_of_files,
    store_passages,
)
from tertulia.search.meaning.search import MeaningSearch
from tertulia.search.query import understand
from tertulia.search.service import Meaning, SearchFilters, search
from tertulia.search_index.passages import PASSAGE
from tests.conftest import ServerMaker
from tests.factories.chats import add_message, make_chat
from tests.factories.files import make_attachment
from tests.fakes.live_server import Client
from tests.waiting import until

# Each line is one meaning. The vector of a text sums the meanings whose words it contains.
MEANINGS = [
    "bread baking sourdough yeast",
    "cat feline kitten",
    "bill invoice payment",
    "sea boat harbour",
    "tea kettle",
]
TEXTS = ["Yeast makes it rise.", "My kitten sleeps all day.", "The invoice is overdue.", "A boat lies in the harbour."]

ADA = {"username": "ada", "name": "Ada", "password": "correct horse battery"}


def vector_of(text: str) -> bytes:
    """Represent a text without the model, by five known meanings."""
    words = {word.strip(".,:").lower() for word in text.split()}
    vector = np.random.default_rng(len(text) + 100).normal(0, 0.1, DIMENSIONS)
    for number, meaning in enumerate(MEANINGS):
        signs = np.random.default_rng(number).choice([-1.0, 1.0], DIMENSIONS)
        vector += signs * len(words & set(meaning.split()))
    return bytes(np.rint(vector / np.linalg.norm(vector) * 127).astype(np.int8))


def build(session: Session) -> int:
    """Store vectors for the waiting documents, as the builder does. Return how many there were."""
    session.flush()
    count = 0
    while (waiting := next_unembedded(session, 0, newest_document(session))) is not None:
        embedded = [
            EmbeddedPassage(start, code_of(vector_of(text)), vector_of(text)) for start, text in waiting.passages
        ]
        store_passages(session, waiting, embedded)
        count += 1
    return count


def found(
    session: Session, typed: str, actor: Actor, *, meanings: Meanings | None = None, **narrowed: Any
) -> list[str]:
    meaning = Meaning(vector_of(typed), meanings or Meanings())
    hits, _ = search(session, actor, typed, SearchFilters(**narrowed), meaning=meaning)
    return ["".join(piece["text"] for piece in hit["snippet"]) for hit in hits]


@pytest.fixture
def library(session: Session, alice: Actor) -> ChatId:
    chat_id = make_chat(session, owner=alice, title="Kitchen talk")
    for number, text in enumerate(TEXTS):
        add_message(session, chat_id, text, owner=alice, is_reply=bool(number % 2))
    build(session)
    return chat_id


@pytest.mark.parametrize(
    ("typed", "texts"),
    [
        ("sourdough", [0]),
        ("feline payment", [2, 1]),
        ("feline from:me", []),
        ("feline from:assistant", [1]),
        ("feline in:kitchen", [1]),
        ("feline in:garage", []),
        ("feline before:2020", []),
        ("feline -kitten", []),
        ("feline -sleep", []),
        ("feline -dog", [1]),
        ("carburettor", []),
        ("from:me", []),
    ],
)
def test_texts_of_the_same_meaning_are_found(
    session: Session, alice: Actor, library: ChatId, typed: str, texts: list[int]
) -> None:
    assert sorted(found(session, typed, alice)) == sorted(TEXTS[number] for number in texts)


def test_quoted_short_or_filter_only_searches_do_not_use_meaning() -> None:
    assert understand("feline from:me -dog in:home").meaning == "feline"
    assert understand("a cat that sleeps").meaning == "a cat that sleeps"
    assert [understand(typed).meaning for typed in ('"feline" cat', "ca", "from:me", "-cat", "")] == [None] * 5


def test_text_matches_rank_before_semantic_matches(session: Session, alice: Actor, library: ChatId) -> None:
    add_message(session, library, "The cat and the kettle", owner=alice)
    add_message(session, library, "cat", owner=alice)
    build(session)
    hits, _ = search(session, alice, "cat", SearchFilters(), meaning=Meaning(vector_of("cat"), Meanings()))
    assert [hit["by"] for hit in hits] == ["words", "words", "meaning"]
    assert [piece["text"] for piece in hits[2]["snippet"]] == [TEXTS[1]]
    assert not any(piece["is_hit"] for piece in hits[2]["snippet"])


def test_a_result_shows_the_matching_passage(session: Session, alice: Actor) -> None:
    chat_id = make_chat(session, owner=alice)
    add_message(session, chat_id, "word " * (PASSAGE // 5) + "The feline sleeps.", owner=alice)
    build(session)
    assert found(session, "kitten", alice) == ["…The feline sleeps."]


def test_a_user_does_not_find_texts_of_others(session: Session, alice: Actor, bob: Actor, library: ChatId) -> None:
    assert found(session, "feline", bob) == []
    with pytest.raises(Invalid, match="This chat does not exist"):
        found(session, "feline", bob, chat_id=library)
    meanings = Meanings()
    assert found(session, "feline", alice, meanings=meanings) == [TEXTS[1]]
    assert found(session, "feline", bob, meanings=meanings) == []


def test_the_next_search_includes_all_changes(session: Session, alice: Actor, library: ChatId) -> None:
    meanings = Meanings()
    assert found(session, "feline", alice, meanings=meanings) == [TEXTS[1]]
    add_message(session, library, "Another kitten.", owner=alice)
    build(session)
    assert sorted(found(session, "feline", alice, meanings=meanings)) == ["Another kitten.", TEXTS[1]]
    message_id = session.scalars(sa.select(Message.id).where(Message.content == TEXTS[1])).one()
    delete_message(session, alice, MessageId(message_id))
    assert found(session, "feline", alice, meanings=meanings) == ["Another kitten."]
    restore_message(session, alice, MessageId(message_id))
    build(session)
    assert sorted(found(session, "feline", alice, meanings=meanings)) == ["Another kitten.", TEXTS[1]]
    update_chat(session, alice, library, ChatUpdate(is_archived=True))
    assert found(session, "feline", alice, meanings=meanings, archived=False) == []
    delete_chat(session, alice, library)
    assert found(session, "feline", alice, meanings=meanings) == []


def test_each_document_is_embedded_once(session: Session, alice: Actor, library: ChatId) -> None:
    assert build(session) == 0
    add_message(session, library, "?", owner=alice)  # too short to embed
    add_message(session, library, "word " * 20_000, owner=alice, is_reply=True)  # has several rows in the text index
    assert build(session) > 2
    assert build(session) == 0
    counted = session.scalar(sa.select(sa.func.count()).where(SearchPassage.position == PASSAGES_A_TEXT - 1))
    assert counted == 1


def test_the_nearest_passage_is_found_among_many(
    session: Session, alice: Actor, library: ChatId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "MEASURED", 3)
    for number in range(40):
        add_message(session, library, f"tea number {number}", owner=alice)
    build(session)
    assert found(session, "feline", alice) == [TEXTS[1]]


def test_only_the_passages_of_the_latest_searcher_stay_cached(
    session: Session, alice: Actor, bob: Actor, library: ChatId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "KEPT_PASSAGES", 3)
    add_message(session, make_chat(session, owner=bob, title="Bobs"), "The kettle sings.", owner=bob)
    build(session)
    meanings = Meanings()
    for _ in range(2):
        assert found(session, "feline", alice, meanings=meanings) == [TEXTS[1]]
        assert found(session, "tea", bob, meanings=meanings) == ["The kettle sings."]
    assert list(meanings._kept) == [bob.user_id]


@given(st.text(alphabet="ab. \n", max_size=4 * PASSAGE))
def test_passages_follow_the_order_of_the_text(text: str) -> None:
    at = 0
    for start, piece in passages_of(text):
        assert text[start : start + len(piece)] == piece
        assert start >= at
        assert len(piece) <= PASSAGE
        at = start + len(piece)


def test_passages_end_at_sentences_and_are_limited_in_number() -> None:
    text = "One sentence of some words. " * 40
    assert all(piece.endswith(".") for _, piece in passages_of(text))
    assert [len(piece) for _, piece in passages_of("x" * (PASSAGE + 50))] == [PASSAGE, 50]
    assert len(passages_of("word " * 10_000)) == PASSAGES_A_TEXT


class StandIn(Embedder):
    """An embedder without a process."""

    async def embed(self, texts: Sequence[str]) -> list[bytes]:
        return [vector_of(text) for text in texts]


def test_only_one_builder_embeds_and_the_newest_come_first(
    start_server: ServerMaker, tmp_path: Path, settings: Any
) -> None:
    server = start_server()
    db = server.app.state.services.get(Database)
    builders: list[PassageBuilder] = []

    def fill(session: Session) -> None:
        from tests.factories.accounts import make_user

        owner = make_user(session, username="ana")
        chat_id = make_chat(session, owner=owner, title="A title")
        for text in TEXTS:
            add_message(session, chat_id, text, owner=owner)

    def embedded(session: Session) -> list[int]:
        rows = session.scalars(sa.select(SearchPassage.document_id).order_by(SearchPassage.id))
        return list(rows)

    async def main() -> None:
        await db.write(fill)
        builders.extend(PassageBuilder(db, StandIn(tmp_path), owner) for owner in ("one", "other"))
        await builders[0].build()
        await builders[1].build()

    server.call(main())
    document_ids = server.call(db.read(embedded))
    assert len(document_ids) == len(TEXTS) + 1
    assert document_ids == sorted(document_ids, reverse=True)

    async def more() -> None:
        await db.write(lambda session: session.execute(sa.delete(SearchPassage)))
        await builders[1].build()  # the first builder holds the lease

    server.call(more())
    assert server.call(db.read(embedded)) == []


@pytest.mark.parametrize("engine_kind", ["sqlite"], indirect=True)
def test_without_the_model_search_matches_text_and_reports_the_failure(
    start_server: ServerMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Path:
        raise FetchFailed("no network")

    monkeypatch.setattr(embedding, "fetch_model", refuse)
    server = start_server(embedding_model="minilm-l6-v2")
    with Client(server.url) as ana:
        ana.api("POST", "/setup", json=ADA, expect=201)
        until(lambda: ana.api("GET", "/search/meaning")["phase"] == "failed")
        chat = ana.chat(title="Bread and butter")
        assert [hit["chat"]["id"] for hit in ana.api("GET", "/search?q=bread")["items"]] == [chat["id"]]


@pytest.mark.model
@pytest.mark.parametrize("engine_kind", ["sqlite"], indirect=True)
def test_the_real_model_finds_texts_and_restarts_after_a_kill(
    start_server: ServerMaker, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server(embedding_model="minilm-l6-v2", openai_base_url=provider.url)
    meanings = server.app.state.services.get(MeaningSearch)
    with Client(server.url) as ana:
        ana.api("POST", "/setup", json=ADA, expect=201)
        chat = ana.chat(title="Kitchen")
        sent = ana.say(chat["id"], "Bread rises because yeast breathes.")
        ana.finished(sent["run"]["id"])
        until(lambda: ana.api("GET", "/search/meaning")["phase"] == "ready", seconds=60)

        def hits(typed: str) -> list[str]:
            return [hit["message"]["id"] for hit in ana.api("GET", "/search", params={"q": typed})["items"]]

        until(lambda: sent["message"]["id"] in hits("baking sourdough"), seconds=30)
        assert hits("unpaid invoices") == []
        monkeypatch.setattr(embedding, "REST_S", 0.1)
        meanings._embedder._child.send_signal(signal.SIGKILL)
        until(lambda: sent["message"]["id"] in hits("how dough becomes light"), seconds=30)


def test_a_cancelled_request_does_not_shift_the_answers(tmp_path: Path) -> None:
    """Cancel a request while the process works. The next request gets its own answer."""
    child = tmp_path / "child.py"
    child.write_text(
        "import sys, json, time, base64\n"
        "print(json.dumps('ready'), flush=True)\n"
        "for line in sys.stdin:\n"
        "    texts = json.loads(line)\n"
        "    if texts == ['slow']: open('asked', 'w').close(); time.sleep(60)\n"
        "    print(json.dumps([base64.b64encode(text.encode()).decode() for text in texts]), flush=True)\n"
    )

    async def main() -> list[bytes]:
        embedder = Embedder(tmp_path)
        embedder._file = tmp_path / "model"
        start = asyncio.create_subprocess_exec

        async def start_stand_in(program: str, *_: str, **options: Any) -> asyncio.subprocess.Process:
            return await start(program, str(child), cwd=tmp_path, **options)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(asyncio, "create_subprocess_exec", start_stand_in)
            slow = asyncio.create_task(embedder.embed(["slow"]))
            await asyncio.to_thread(until, lambda: (tmp_path / "asked").exists())
            slow.cancel()
            await asyncio.gather(slow, return_exceptions=True)
            answered = await embedder.embed(["quick", "answer"])
        await embedder.close()
        return answered

    assert asyncio.run(main()) == [b"quick", b"answer"]


def test_passages_of_a_file_are_ranked_by_their_meaning(session: Session, alice: Actor, library: ChatId) -> None:
    parts = ["Nothing here. " * 45, "The feline sleeps. " * 34, "Pay the bill. " * 45, "A kitten, a cat. " * 40]
    text = "".join(f"{part.strip()}\n\n" for part in parts)
    file = make_attachment(session, owner=alice, text=text)
    message = add_message(session, library, "Read this.", owner=alice)
    link_attachments(
        session, find_attachable(session, alice, [file], chat_id=library), message_id=message, chat_id=library
    )
    while index_files(session):
        pass
    build(session)
    rows = passages_of_files(session, [file])
    assert len(rows) == len(parts)
    (starts,) = nearest_of_files(rows, vector_of("cat feline kitten")).values()
    assert [text[start : start + 8] for start in starts] == ["A kitten", "The feli"]
    assert nearest_of_files(rows, vector_of("kettle")) == {file: []}
    assert passages_of_files(session, [new_id()]) == []
