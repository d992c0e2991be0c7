"""Tests for working copies: stored while typing, merged between windows, and finally turned into versions."""

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.drafts.models import DraftWorkingCopy
from tertulia.drafts.schemas import VersionCreate
from tertulia.drafts.service import (
    create_version,
    get_draft,
    get_version,
)
from tertulia.drafts.working_copies import settle_working_copy
from tests.drafts.calls import put, save
from tests.factories.drafts import make_draft, store
from tests.fakes.live_server import Client
from tests.fakes.scripted_provider import ScriptedProvider


def test_a_working_copy_is_stored_until_it_is_saved(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "a"}, expect=201)["id"]
    first = put(ana, draft, "ab", 1, 0)
    second = put(ana, draft, "abc", 1, first["revision"])
    assert second["revision"] > first["revision"]
    copy = ana.api("GET", f"/drafts/{draft}")["working_copy"]
    assert (copy["content"], copy["base_version_number"], copy["revision"]) == ("abc", 1, second["revision"])
    save(ana, draft, "abc", 1)
    assert ana.api("GET", f"/drafts/{draft}")["working_copy"] is None
    put(ana, draft, "x", 9, 0, expect=404)


def test_a_save_removes_only_the_working_copy_that_it_includes(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "a"}, expect=201)["id"]
    stored = put(ana, draft, "ab", 1, 0)
    save(ana, draft, "abc", 1, working_copy_revision=stored["revision"])
    assert ana.api("GET", f"/drafts/{draft}")["working_copy"] is None
    put(ana, draft, "abcd", 2, 0, window="b")
    save(ana, draft, "abcx", 2, working_copy_revision=stored["revision"])
    assert ana.api("GET", f"/drafts/{draft}")["working_copy"]["content"] == "abcd"


def test_an_undone_edit_leaves_no_working_copy(ana: Client, provider: ScriptedProvider) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "a"}, expect=201)["id"]
    first = put(ana, draft, "ab", 1, 0)
    put(ana, draft, "a", 1, first["revision"])
    assert ana.api("GET", f"/drafts/{draft}")["working_copy"] is None
    put(ana, draft, "ab", 1, 0)
    save(ana, draft, "ab", 1)
    ana.api("POST", f"/drafts/{draft}/versions/1/restore", expect=201)
    current = ana.api("GET", f"/drafts/{draft}")
    assert (current["current_version"]["content"], current["working_copy"]) == ("a", None)


def test_a_working_copy_of_an_older_version_is_merged_with_the_newer_one(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "One.\n\nTwo.\n"}, expect=201)["id"]
    save(ana, draft, "One!\n\nTwo.\n", 1)
    stored = put(ana, draft, "One.\n\nTwo!\n", 1, 0)
    assert (stored["content"], stored["base_version_number"], stored["merged"]) == ("One!\n\nTwo!\n", 2, True)
    # A conflicting working copy is kept as it is, and saving it reports the conflict.
    other = ana.api("POST", "/drafts", json={"content": "The quick fox."}, expect=201)["id"]
    save(ana, other, "The slow fox.", 1)
    stored = put(ana, other, "The red fox.", 1, 0)
    assert (stored["content"], stored["base_version_number"], stored["merged"]) == ("The red fox.", 1, False)
    save(ana, other, "The red fox.", 1, expect=409)


def test_a_merged_copy_is_not_overwritten_after_a_lost_answer(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "One.\n\nTwo.\n"}, expect=201)["id"]
    put(ana, draft, "One!\n\nTwo.\n", 1, 0, window="b")
    put(ana, draft, "One.\n\nTwo!\n", 1, 0)  # merged, but the answer is lost
    again = put(ana, draft, "Zero.\n\nOne.\n\nTwo!\n", 1, 0)
    assert again["content"] == "Zero.\n\nOne!\n\nTwo!\n"


def test_working_copies_of_two_windows_are_merged(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "One.\n\nTwo.\n"}, expect=201)["id"]
    first = put(ana, draft, "One!\n\nTwo.\n", 1, 0)
    second = put(ana, draft, "One.\n\nTwo!\n", 1, 0, window="b")
    assert (second["content"], second["merged"]) == ("One!\n\nTwo!\n", True)
    # The first window does not know of the merge and keeps typing.
    third = put(ana, draft, "One!!\n\nTwo.\n", 1, first["revision"], expect=409)
    assert third["revision"] == second["revision"]
    assert [piece["kind"] for piece in third["merged"]] == ["same", "overlap", "same"]
    assert ana.api("GET", f"/drafts/{draft}")["working_copy"]["content"] == "One!\n\nTwo!\n"


def test_a_revision_from_before_a_save_does_not_overwrite_another_copy(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "One.\n\nTwo.\n"}, expect=201)["id"]
    first = put(ana, draft, "One!\n\nTwo.\n", 1, 0)
    save(ana, draft, "One!\n\nTwo.\n", 1)
    put(ana, draft, "One.\n\nTwo!\n", 1, first["revision"], window="b")  # another window, still on the first version
    stored = put(ana, draft, "One!\n\nTwo.\n\nThree.\n", 2, first["revision"])
    assert stored["merged"] is True
    assert stored["content"] == "One!\n\nTwo!\n\nThree.\n"


def test_a_window_replaces_its_own_copy_without_its_revision(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "The quick fox."}, expect=201)["id"]
    put(ana, draft, "The sl fox.", 1, 0)
    assert put(ana, draft, "The slow fox.", 1, 0)["content"] == "The slow fox."
    put(ana, draft, "The red fox.", 1, 0, window="b", expect=409)


def test_an_unsaved_working_copy_becomes_a_version_later(session: Session, alice: Actor) -> None:
    draft = make_draft(session, owner=alice, contents=["The quick fox."])
    store(session, draft, "The slow fox.", 1, alice)
    assert settle_working_copy(session) is False  # it changed too recently
    _age(session)
    assert settle_working_copy(session) is True
    current = get_draft(session, alice, draft)
    assert (current["current_version"]["content"], current["working_copy"]) == ("The slow fox.", None)
    # A copy that cannot be merged becomes a separate version.
    store(session, draft, "The red fox.", 1, alice)
    _age(session)
    settle_working_copy(session)
    current = get_draft(session, alice, draft)
    assert (current["current_version_number"], current["version_count"]) == (2, 3)
    separate = get_version(session, alice, draft, 3)
    assert (separate["content"], separate["parent_version_number"]) == ("The red fox.", 1)
    # The next save continues from the current version.
    saved, _ = create_version(session, alice, draft, VersionCreate(content="The slow fox!", parent_version_number=2))
    assert (saved["version_number"], saved["parent_version_number"]) == (4, 2)


def _age(session: Session) -> None:
    session.execute(sa.update(DraftWorkingCopy).values(updated_at=clock.now() - timedelta(minutes=11)))
