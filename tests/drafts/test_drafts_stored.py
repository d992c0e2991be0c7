"""Tests for stored drafts: keys, cascades, texts packed as deltas, random histories, and search."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import exc
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User
from tertulia.chat.indexing import index_title
from tertulia.chat.models import Chat, DraftChat
from tertulia.drafts import packing
from tertulia.drafts.errors import VersionConflict
from tertulia.drafts.indexing import has_unindexed_drafts, index_next_draft
from tertulia.drafts.models import Draft, DraftVersion, DraftWorkingCopy
from tertulia.drafts.schemas import VersionCreate
from tertulia.drafts.service import (
    create_version,
    delete_draft,
    get_authorship,
    get_draft,
    get_version,
    list_versions,
    purge_drafts,
    restore_version,
)
from tertulia.drafts.versions import load_text
from tertulia.search.service import SearchFilters, search
from tests.conftest import SignIn
from tests.factories.drafts import make_draft, store
from tests.fakes.live_server import Client


def test_the_current_version_and_parents_belong_to_the_draft(session: Session, alice: Actor) -> None:
    draft, other = (make_draft(session, owner=alice, contents=["a", "b"]) for _ in range(2))
    session.commit()
    foreign = session.scalars(sa.select(DraftVersion.id).where(DraftVersion.draft_id == other)).first()
    for statement in (
        sa.update(Draft).where(Draft.id == draft).values(current_version_id=foreign),
        sa.update(DraftVersion).where(DraftVersion.draft_id == draft).values(parent_version_id=foreign),
    ):
        session.execute(statement)
        with pytest.raises(exc.IntegrityError):
            session.commit()
        session.rollback()
    with pytest.raises(exc.IntegrityError):
        session.execute(sa.update(DraftVersion).where(DraftVersion.draft_id == draft).values(version_number=7))
    session.rollback()


@pytest.mark.parametrize("whose", [Draft, User])
def test_deleting_a_draft_or_its_owner_deletes_all_its_rows(session: Session, alice: Actor, whose: Any) -> None:
    draft = make_draft(session, owner=alice, contents=["a", "b"])
    store(session, draft, "c", 2, alice)
    session.commit()
    session.execute(sa.delete(whose).where(whose.id == (draft if whose is Draft else alice.user_id)))
    session.commit()
    for table in (Draft, DraftVersion, DraftWorkingCopy, DraftChat):
        assert session.scalar(sa.select(sa.func.count()).select_from(table)) == 0


def test_purging_a_draft_deletes_its_versions_and_chats(session: Session, alice: Actor) -> None:
    draft = make_draft(session, owner=alice, contents=["a", "b"])
    delete_draft(session, alice, draft)
    assert purge_drafts(session, timedelta(days=30)) == 0
    assert purge_drafts(session, timedelta(days=-1)) == 1
    session.commit()
    for table in (Draft, DraftVersion, Chat):
        assert session.scalar(sa.select(sa.func.count()).select_from(table)) == 0


def test_texts_are_read_back_through_chains_of_deltas(session: Session, alice: Actor) -> None:
    contents = [f"{'The same beginning of it all. ' * 20}{number}" for number in range(3 * packing.MAX_DEPTH)]
    draft = make_draft(session, owner=alice, contents=contents)
    rows = session.execute(
        sa.select(DraftVersion.id, DraftVersion.delta_of_id, sa.func.length(DraftVersion.content))
        .where(DraftVersion.draft_id == draft)
        .order_by(DraftVersion.version_number)
    ).all()
    assert [load_text(session, row[0]) for row in rows] == contents
    assert sum(row[1] is None for row in rows) == 3
    assert max(row[2] for row in rows if row[1] is not None) < 60


class VersionMachine(RuleBasedStateMachine):
    """Random saves, branches and restores, compared with a model in plain lists."""

    session: Session
    alice: Actor

    def __init__(self) -> None:
        super().__init__()
        self.draft_id = make_draft(self.session, owner=self.alice, contents=["alpha beta gamma\ndelta\n"])
        self.texts = ["alpha beta gamma\ndelta\n"]
        self.parents: list[int | None] = [None]
        self.current = 1

    @rule(
        on=st.integers(0, 1000),
        word=st.sampled_from(["alpha", "beta", "gamma", "delta"]),
        new=st.text("xyz ", max_size=5),
    )
    def save(self, on: int, word: str, new: str) -> None:
        parent = on % len(self.texts) + 1
        content = self.texts[parent - 1].replace(word, new)
        request = VersionCreate(content=content, parent_version_number=parent)
        before = self.texts[self.current - 1]
        try:
            saved, is_new = create_version(self.session, self.alice, self.draft_id, request)
        except VersionConflict:
            assert parent != self.current
            return
        if not is_new:
            assert saved["content"] == before
            return
        if parent == self.current:
            assert saved["content"] == content
        self._made(saved["content"], self.current, saved["version_number"])

    @rule(on=st.integers(0, 1000), new=st.text("abc\n", max_size=8))
    def branch(self, on: int, new: str) -> None:
        parent = on % len(self.texts) + 1
        request = VersionCreate(content=new, parent_version_number=parent, branch=True)
        saved, is_new = create_version(self.session, self.alice, self.draft_id, request)
        if is_new:
            self._made(new, parent, saved["version_number"])

    @rule(which=st.integers(0, 1000))
    def restore(self, which: int) -> None:
        number = which % len(self.texts) + 1
        version = restore_version(self.session, self.alice, self.draft_id, number)
        self._made(self.texts[number - 1], number, version["version_number"])

    def _made(self, content: str, parent: int, number: int) -> None:
        self.texts.append(content)
        self.parents.append(parent)
        self.current = number

    @invariant()
    def every_version_is_as_it_was_made(self) -> None:
        listed = list_versions(self.session, self.alice, self.draft_id, limit=1000)[::-1]
        assert [item["version_number"] for item in listed] == list(range(1, len(self.texts) + 1))
        assert [item["parent_version_number"] for item in listed] == self.parents
        for number, content in enumerate(self.texts, 1):
            version = get_version(self.session, self.alice, self.draft_id, number)
            assert version["content"] == content
            spans = get_authorship(self.session, self.alice, self.draft_id, number)["items"]
            assert sum(span["length"] for span in spans) == len(content)
            assert all(span["version_number"] <= number for span in spans)
        assert get_draft(self.session, self.alice, self.draft_id)["current_version_number"] == self.current


def test_random_histories_match_the_model(session: Session, alice: Actor) -> None:
    class Machine(VersionMachine):
        pass

    Machine.session, Machine.alice = session, alice
    run_state_machine_as_test(
        Machine,
        settings=hypothesis_settings(
            max_examples=10, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def found_drafts(session: Session, typed: str, actor: Actor) -> list[tuple[str | None, str]]:
    hits, _ = search(session, actor, typed, SearchFilters())
    return [(hit["draft"]["title"], "".join(piece["text"] for piece in hit["snippet"])) for hit in hits if hit["draft"]]


def test_search_finds_the_current_text_of_a_draft(session: Session, alice: Actor, bob: Actor) -> None:
    draft = make_draft(session, owner=alice, contents=["The quick fox.", "The slow walrus."], title="Animals")
    assert has_unindexed_drafts(session) is False  # it changed too recently
    session.execute(sa.update(Draft).values(updated_at=clock.now() - timedelta(seconds=6)))
    assert has_unindexed_drafts(session) is True
    assert index_next_draft(session) is True
    assert index_next_draft(session) is False
    assert found_drafts(session, "walrus", alice) == [("Animals", "The slow walrus.")]
    assert found_drafts(session, "fox", alice) == []
    assert found_drafts(session, "walrus", bob) == []
    # The indexed title of its chat does not replace its text.
    index_title(session, session.scalars(sa.select(DraftChat.chat_id)).one())
    assert len(found_drafts(session, "walrus", alice)) == 1
    delete_draft(session, alice, draft)
    assert found_drafts(session, "walrus", alice) == []


def test_strangers_cannot_see_a_draft(ana: Client, sign_in: SignIn) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "secret"}, expect=201)["id"]
    bob = sign_in("bob")
    assert bob.api("GET", "/drafts")["items"] == []
    assert bob.api("GET", f"/drafts/{draft}", expect=404)["code"] == "draft_not_found"
