"""Drafts and their versions: a tree without a gap, in which nothing is ever overwritten."""

import threading
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
from tertulia.chat.models import Chat
from tertulia.chat.search_index import index_title
from tertulia.drafts import packing
from tertulia.drafts.errors import DraftTooLong, VersionConflict
from tertulia.drafts.indexing import has_unindexed_drafts, index_next_draft
from tertulia.drafts.models import MAX_CONTENT, Draft, DraftChat, DraftVersion, DraftWorkingCopy
from tertulia.drafts.schemas import DraftCreate, VersionCreate, WorkingCopyPut
from tertulia.drafts.service import (
    create_draft,
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
from tertulia.drafts.working_copies import settle_working_copy, store_working_copy
from tertulia.ids import DraftId, new_id
from tertulia.search.service import Narrowed, search
from tests.conftest import SignIn
from tests.factories.chats import add_message, make_chat
from tests.factories.drafts import make_draft
from tests.fakes.live_server import Client
from tests.fakes.scripted_provider import Finish, ScriptedProvider, Text
from tests.waiting import Listener


def save(client: Client, draft_id: str, content: str, parent: int, *, expect: int = 201, **fields: Any) -> Any:
    body = {"content": content, "parent_version_number": parent, **fields}
    return client.api("POST", f"/drafts/{draft_id}/versions", json=body, expect=expect)


def test_a_draft_always_has_a_version_and_a_chat(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"title": " To  my aunt "}, expect=201)
    assert (draft["title"], draft["version_count"], draft["current_version_number"]) == ("To my aunt", 1, 1)
    version = draft["current_version"]
    assert (version["content"], version["parent_version_number"], version["generation_source"]) == ("", None, "user")
    assert version["author"] == {"id": ana.user["id"], "name": "Ana"}
    [chat] = ana.api("GET", f"/drafts/{draft['id']}/chats")["items"]
    assert (chat["kind"], chat["title"]) == ("draft", "To my aunt")
    assert ana.api("GET", "/chats")["items"] == []  # it is found beside its draft
    other = ana.api("POST", f"/drafts/{draft['id']}/chats", expect=201)
    assert [one["id"] for one in ana.api("GET", f"/drafts/{draft['id']}/chats")["items"]] == [other["id"], chat["id"]]
    assert ana.api("POST", "/drafts", json={"content": "## Plans\n\nMany"}, expect=201)["title"] == "Plans"


def test_versions_are_numbered_form_a_tree_and_never_change(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "one"}, expect=201)["id"]
    assert save(ana, draft, "one two", 1)["version_number"] == 2
    assert save(ana, draft, "one two three", 2)["version_number"] == 3
    branch = save(ana, draft, "uno", 1, branch=True)
    assert (branch["version_number"], branch["parent_version_number"], branch["merged"]) == (4, 1, False)
    restored = ana.api("POST", f"/drafts/{draft}/versions/3/restore", expect=201)
    assert (restored["version_number"], restored["parent_version_number"]) == (5, 3)
    tree = ana.api("GET", f"/drafts/{draft}/versions")["items"]
    assert [(one["version_number"], one["parent_version_number"]) for one in tree] == [
        (5, 3),
        (4, 1),
        (3, 2),
        (2, 1),
        (1, None),
    ]
    assert all("content" not in one for one in tree)
    texts = [ana.api("GET", f"/drafts/{draft}/versions/{number}")["content"] for number in range(1, 6)]
    assert texts == ["one", "one two", "one two three", "uno", "one two three"]
    first = ana.api("GET", f"/drafts/{draft}/versions?limit=2")
    rest = ana.api("GET", f"/drafts/{draft}/versions?limit=200&cursor={first['next_cursor']}")
    assert [one["version_number"] for one in first["items"] + rest["items"]] == [5, 4, 3, 2, 1]
    ana.api("GET", f"/drafts/{draft}/versions/6", expect=404)


def test_a_save_on_an_older_version_is_merged(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "The quick fox.\n\nThe lazy dog.\n"}, expect=201)["id"]
    save(ana, draft, "The slow fox.\n\nThe lazy dog.\n", 1)
    merged = save(ana, draft, "The quick fox.\n\nThe sleeping dog.\n", 1)
    assert merged["merged"] is True
    assert merged["content"] == "The slow fox.\n\nThe sleeping dog.\n"
    assert (merged["parent_version_number"], merged["base_version_number"]) == (2, 1)


def test_what_both_changed_is_answered_with_both_sides_and_nothing_is_stored(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "The quick fox."}, expect=201)["id"]
    save(ana, draft, "The slow fox.", 1)
    refused = save(ana, draft, "The red fox.", 1, expect=409)
    assert (refused["code"], refused["version_number"]) == ("draft_version_conflict", 2)
    assert refused["merged"] == [
        {"kind": "same", "text": "The "},
        {"kind": "overlap", "base": "quick", "mine": "red", "theirs": "slow"},
        {"kind": "same", "text": " fox."},
    ]
    assert ana.api("GET", f"/drafts/{draft}")["version_count"] == 2
    assert save(ana, draft, "The slow red fox.", 2)["version_number"] == 3


def test_an_equal_text_makes_no_version(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "same\r\nlines"}, expect=201)["id"]
    assert save(ana, draft, "same\nlines", 1, expect=200)["version_number"] == 1
    save(ana, draft, "other", 1)
    assert save(ana, draft, "other", 1, expect=200)["version_number"] == 2


def test_title_and_description_are_changed_by_whoever_read_them(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"title": "Old"}, expect=201)["id"]
    etag = ana.get(f"/drafts/{draft}").headers["ETag"]
    assert ana.api("PATCH", f"/drafts/{draft}", json={"title": "New"}, expect=428)["code"] == "if_match_missing"
    changed = ana.api("PATCH", f"/drafts/{draft}", json={"title": "New"}, headers={"If-Match": etag})
    assert (changed["title"], changed["revision"]) == ("New", 2)
    refused = ana.api("PATCH", f"/drafts/{draft}", json={"title": "Newer"}, headers={"If-Match": etag}, expect=409)
    assert refused["code"] == "draft_changed"
    save(ana, draft, "text", 1)  # moves the text, not the title
    ana.api("PATCH", f"/drafts/{draft}", json={"description": "d"}, headers={"If-Match": '"2"'})
    for wrong in ("*", '"x"', '"99999999999999"'):
        ana.api("PATCH", f"/drafts/{draft}", json={}, headers={"If-Match": wrong}, expect=409)


def test_limits_hold_at_the_last_character(ana: Client) -> None:
    most = "x" * MAX_CONTENT
    draft = ana.api("POST", "/drafts", json={"content": most}, expect=201)["id"]
    ana.api("POST", "/drafts", json={"content": most + "x"}, expect=422)
    assert ana.api("GET", f"/drafts/{draft}")["length"] == MAX_CONTENT
    save(ana, draft, most + "x", 1, expect=422)
    copy = {"content": most + "x", "base_version_number": 1, "revision": 0, "window_id": "a"}
    ana.api("PUT", f"/drafts/{draft}/working-copy", json=copy, expect=422)
    ana.api("POST", "/drafts", json={"title": "t" * 255}, expect=201)
    ana.api("POST", "/drafts", json={"title": "t" * 256}, expect=422)
    # Two that fit may not fit together.
    half = "a" * (MAX_CONTENT - 1)
    other = ana.api("POST", "/drafts", json={"content": half}, expect=201)["id"]
    save(ana, other, "b\n" + half[:-1], 1)
    refused = save(ana, other, half + "\nc", 1, expect=422)
    assert refused["code"] in ("invalid", "draft_too_long")


def test_a_name_is_all_of_a_version_that_can_change(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "a"}, expect=201)["id"]
    named = ana.api("PATCH", f"/drafts/{draft}/versions/1", json={"name": "As sent"})
    assert (named["name"], named["content"]) == ("As sent", "a")
    assert ana.api("PATCH", f"/drafts/{draft}/versions/1", json={"name": None})["name"] is None
    ana.api("PATCH", f"/drafts/{draft}/versions/1", json={"content": "b"}, expect=422)


def test_two_versions_are_compared_by_words(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "One line.\nThe quick fox.\n"}, expect=201)["id"]
    save(ana, draft, "One line.\nThe slow fox.\nMore.\n", 1)
    found = ana.api("GET", f"/drafts/{draft}/versions/2/diff?against=1")
    assert [(piece["kind"], piece["text"]) for piece in found["pieces"]] == [
        ("same", "One line.\nThe "),
        ("removed", "quick"),
        ("added", "slow"),
        ("same", " fox"),
        ("added", ".\nMore"),
        ("same", ".\n"),
    ]
    ana.api("GET", f"/drafts/{draft}/versions/2/diff?against=7", expect=404)


def test_a_draft_of_a_reply_is_the_models(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text("# Ode\n\nto bread"), Finish()])
    sent = ana.say(ana.chat()["id"], "Write an ode")
    ana.finished(sent["run"]["id"])
    draft = ana.api("POST", "/drafts", json={"message_id": sent["reply"]["id"]}, expect=201)
    version = draft["current_version"]
    assert (draft["title"], version["content"]) == ("Ode", "# Ode\n\nto bread")
    assert (version["generation_source"], version["model_name"], version["author"]) == (
        "ai_generation",
        "scripted",
        None,
    )
    part = ana.api("POST", "/drafts", json={"message_id": sent["reply"]["id"], "content": "to bread"}, expect=201)
    assert part["current_version"]["content"] == "to bread"
    ana.api("POST", "/drafts", json={"message_id": new_id()}, expect=404)


@pytest.mark.parametrize("content", ["\u00a0", "\f", "# \u3000", "#", "\n \n"])
def test_a_text_of_white_space_has_no_title(ana: Client, content: str) -> None:
    assert ana.api("POST", "/drafts", json={"content": content}, expect=201)["title"] is None


def test_a_reply_longer_than_a_draft_is_refused(session: Session, alice: Actor) -> None:
    message = add_message(session, make_chat(session, owner=alice), "x" * (MAX_CONTENT + 1), owner=alice, is_reply=True)
    with pytest.raises(DraftTooLong):
        create_draft(session, DraftCreate(message_id=message), actor=alice)


def test_a_name_is_given_with_a_text_that_is_there_already(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "a"}, expect=201)["id"]
    assert save(ana, draft, "a", 1, expect=200, name="As sent")["name"] == "As sent"


def test_who_wrote_what_is_kept_through_saves_merges_and_restores(session: Session, alice: Actor) -> None:
    draft = make_draft(session, owner=alice, contents=["Dear aunt,\n", "Dear aunt,\nthank you.\n"])
    create_version(
        session, draft, VersionCreate(content="My dear aunt,\nthank you.\n", parent_version_number=2), actor=alice
    )
    create_version(
        session, draft, VersionCreate(content="Dear aunt,\nthank you!\n", parent_version_number=2), actor=alice
    )
    restored = restore_version(session, draft, 2, actor=alice)
    merged = _origins(session, draft, 4, alice)
    assert "".join(text for text, _ in merged) == "My dear aunt,\nthank you!\n"
    assert ("!", 4) in merged
    assert dict(merged)["thank you"] == 2
    assert _origins(session, draft, restored["version_number"], alice) == [("Dear aunt,\n", 1), ("thank you.\n", 2)]


def _origins(session: Session, draft_id: DraftId, number: int, actor: Actor) -> list[tuple[str, int]]:
    content = get_version(session, draft_id, number, actor=actor)["content"]
    found, at = [], 0
    for span in get_authorship(session, draft_id, number, actor=actor)["items"]:
        found.append((content[at : at + span["length"]], span["version_number"]))
        at += span["length"]
    assert at == len(content)
    return found


def test_the_trash_takes_its_chats_and_gives_them_back(session: Session, ana: Client, settings: Any) -> None:
    draft = ana.api("POST", "/drafts", json={"title": "Gone"}, expect=201)["id"]
    [chat] = ana.api("GET", f"/drafts/{draft}/chats")["items"]
    ana.api("DELETE", f"/drafts/{draft}", expect=204)
    assert ana.api("GET", "/drafts")["items"] == []
    assert [one["id"] for one in ana.api("GET", "/drafts?trash=true")["items"]] == [draft]
    for path in ("", "/versions", "/versions/1", "/chats"):
        ana.api("GET", f"/drafts/{draft}{path}", expect=404)
    save(ana, draft, "x", 1, expect=404)
    ana.api("GET", f"/chats/{chat['id']}", expect=404)
    assert ana.api("POST", f"/drafts/{draft}/restore")["title"] == "Gone"
    assert ana.api("POST", f"/drafts/{draft}/restore")["title"] == "Gone"
    assert ana.api("GET", f"/chats/{chat['id']}")["id"] == chat["id"]


def test_the_list_has_what_changed_last_first_page_by_page(ana: Client) -> None:
    made = [ana.api("POST", "/drafts", json={"title": str(number)}, expect=201)["id"] for number in range(5)]
    save(ana, made[1], "changed", 1)
    first = ana.api("GET", "/drafts?limit=2")
    second = ana.api("GET", f"/drafts?limit=2&cursor={first['next_cursor']}")
    third = ana.api("GET", f"/drafts?limit=2&cursor={second['next_cursor']}")
    titles = [one["title"] for page in (first, second, third) for one in page["items"]]
    assert (titles, third["next_cursor"]) == (["1", "4", "3", "2", "0"], None)


def test_other_windows_are_told(ana: Client) -> None:
    listener = Listener(ana)
    draft = ana.api("POST", "/drafts", json={"content": "a"}, expect=201)["id"]
    save(ana, draft, "b", 1)
    ana.api(
        "PUT",
        f"/drafts/{draft}/working-copy",
        json={"content": "c", "base_version_number": 2, "revision": 0, "window_id": "a"},
    )
    listener.wait_for(lambda: ("draft_working_copy", "updated") in listener.changes)
    assert [one for one in listener.changes if one[0].startswith("draft")] == [
        ("draft", "created"),
        ("draft_version", "created"),
        ("draft", "updated"),
        ("draft_working_copy", "updated"),
    ]


def test_sixteen_writers_of_a_hundred_saves_leave_no_gap_and_lose_nothing(ana: Client, engine_kind: str) -> None:
    # On PostgreSQL each waits for the lock of all others, so fewer show the same.
    saves = 100 if engine_kind == "sqlite" else 25
    lines = [f"line {number}: 0\n" for number in range(16)]
    draft = ana.api("POST", "/drafts", json={"content": "".join(lines)}, expect=201)["id"]
    failed: list[str] = []

    def write(number: int) -> None:
        with Client(ana.base_url.copy_with(path="").__str__().rstrip("/"), cookies=ana.cookies) as client:
            content, version = "".join(lines), 1
            for count in range(1, saves + 1):
                wanted = content.replace(f"line {number}: {count - 1}\n", f"line {number}: {count}\n")
                answer = client.post(
                    f"/drafts/{draft}/versions", json={"content": wanted, "parent_version_number": version}
                )
                if answer.status_code != 201:
                    failed.append(answer.text)
                    return
                content, version = answer.json()["content"], answer.json()["version_number"]

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    final = ana.api("GET", f"/drafts/{draft}")
    assert final["current_version"]["content"] == "".join(f"line {number}: {saves}\n" for number in range(16))
    assert (final["version_count"], final["current_version_number"]) == (16 * saves + 1, 16 * saves + 1)
    numbers, cursor = [], ""
    while cursor is not None:
        page = ana.api("GET", f"/drafts/{draft}/versions?limit=200" + (f"&cursor={cursor}" if cursor else ""))
        numbers += [one["version_number"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert numbers == list(range(16 * saves + 1, 0, -1))


# ---- what is being typed


def put(
    client: Client, draft_id: str, content: str, base: int, revision: int, *, window: str = "a", expect: int = 200
) -> Any:
    body = {"content": content, "base_version_number": base, "revision": revision, "window_id": window}
    return client.api("PUT", f"/drafts/{draft_id}/working-copy", json=body, expect=expect)


def test_what_is_typed_is_there_again_and_becomes_a_version(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "a"}, expect=201)["id"]
    first = put(ana, draft, "ab", 1, 0)
    second = put(ana, draft, "abc", 1, first["revision"])
    assert second["revision"] > first["revision"]
    found = ana.api("GET", f"/drafts/{draft}")["working_copy"]
    assert (found["content"], found["base_version_number"], found["revision"]) == ("abc", 1, second["revision"])
    save(ana, draft, "abc", 1)
    assert ana.api("GET", f"/drafts/{draft}")["working_copy"] is None
    put(ana, draft, "x", 9, 0, expect=404)


def test_a_save_takes_up_what_its_window_stored_before(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "a"}, expect=201)["id"]
    stored = put(ana, draft, "ab", 1, 0)
    save(ana, draft, "abc", 1, working_copy_revision=stored["revision"])
    assert ana.api("GET", f"/drafts/{draft}")["working_copy"] is None
    put(ana, draft, "abcd", 2, 0, window="b")
    save(ana, draft, "abcx", 2, working_copy_revision=stored["revision"])
    assert ana.api("GET", f"/drafts/{draft}")["working_copy"]["content"] == "abcd"


def test_what_was_typed_and_taken_back_hides_no_version(ana: Client, provider: ScriptedProvider) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "a"}, expect=201)["id"]
    first = put(ana, draft, "ab", 1, 0)
    put(ana, draft, "a", 1, first["revision"])
    assert ana.api("GET", f"/drafts/{draft}")["working_copy"] is None
    put(ana, draft, "ab", 1, 0)
    save(ana, draft, "ab", 1)
    ana.api("POST", f"/drafts/{draft}/versions/1/restore", expect=201)
    found = ana.api("GET", f"/drafts/{draft}")
    assert (found["current_version"]["content"], found["working_copy"]) == ("a", None)


def test_what_is_typed_on_an_older_version_has_the_newer_one_too(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "One.\n\nTwo.\n"}, expect=201)["id"]
    save(ana, draft, "One!\n\nTwo.\n", 1)
    stored = put(ana, draft, "One.\n\nTwo!\n", 1, 0)
    assert (stored["content"], stored["base_version_number"], stored["merged"]) == ("One!\n\nTwo!\n", 2, True)
    # Where both changed the same it is kept as it is, and a save asks.
    other = ana.api("POST", "/drafts", json={"content": "The quick fox."}, expect=201)["id"]
    save(ana, other, "The slow fox.", 1)
    stored = put(ana, other, "The red fox.", 1, 0)
    assert (stored["content"], stored["base_version_number"], stored["merged"]) == ("The red fox.", 1, False)
    save(ana, other, "The red fox.", 1, expect=409)


def test_what_was_merged_is_no_windows_own(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "One.\n\nTwo.\n"}, expect=201)["id"]
    put(ana, draft, "One!\n\nTwo.\n", 1, 0, window="b")
    put(ana, draft, "One.\n\nTwo!\n", 1, 0)  # merged, but the answer is lost
    again = put(ana, draft, "Zero.\n\nOne.\n\nTwo!\n", 1, 0)
    assert again["content"] == "Zero.\n\nOne!\n\nTwo!\n"


def test_two_windows_that_type_are_merged(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "One.\n\nTwo.\n"}, expect=201)["id"]
    first = put(ana, draft, "One!\n\nTwo.\n", 1, 0)
    second = put(ana, draft, "One.\n\nTwo!\n", 1, 0, window="b")
    assert (second["content"], second["merged"]) == ("One!\n\nTwo!\n", True)
    # The first window has not heard of it, and types on.
    third = put(ana, draft, "One!!\n\nTwo.\n", 1, first["revision"], expect=409)
    assert third["revision"] == second["revision"]
    assert [piece["kind"] for piece in third["merged"]] == ["same", "overlap", "same"]
    assert ana.api("GET", f"/drafts/{draft}")["working_copy"]["content"] == "One!\n\nTwo!\n"


def test_a_copy_that_a_save_took_up_is_no_licence_to_overwrite(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "One.\n\nTwo.\n"}, expect=201)["id"]
    first = put(ana, draft, "One!\n\nTwo.\n", 1, 0)
    save(ana, draft, "One!\n\nTwo.\n", 1)
    put(ana, draft, "One.\n\nTwo!\n", 1, first["revision"], window="b")  # another window, still on the first version
    stored = put(ana, draft, "One!\n\nTwo.\n\nThree.\n", 2, first["revision"])
    assert stored["merged"] is True
    assert stored["content"] == "One!\n\nTwo!\n\nThree.\n"


def test_a_window_replaces_what_it_stored_itself_though_it_never_heard_so(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "The quick fox."}, expect=201)["id"]
    put(ana, draft, "The sl fox.", 1, 0)
    assert put(ana, draft, "The slow fox.", 1, 0)["content"] == "The slow fox."
    put(ana, draft, "The red fox.", 1, 0, window="b", expect=409)


def test_what_was_left_unsaved_becomes_a_version_later(session: Session, alice: Actor) -> None:
    draft = make_draft(session, owner=alice, contents=["The quick fox."])
    store(session, draft, "The slow fox.", 1, alice)
    assert settle_working_copy(session) is False  # somebody may still type
    _age(session)
    assert settle_working_copy(session) is True
    current = get_draft(session, draft, actor=alice)
    assert (current["current_version"]["content"], current["working_copy"]) == ("The slow fox.", None)
    # One that cannot be merged is kept beside.
    store(session, draft, "The red fox.", 1, alice)
    _age(session)
    settle_working_copy(session)
    current = get_draft(session, draft, actor=alice)
    assert (current["current_version_number"], current["version_count"]) == (2, 3)
    beside = get_version(session, draft, 3, actor=alice)
    assert (beside["content"], beside["parent_version_number"]) == ("The red fox.", 1)
    # And the next save goes on from the current one.
    saved, _ = create_version(
        session, draft, VersionCreate(content="The slow fox!", parent_version_number=2), actor=alice
    )
    assert (saved["version_number"], saved["parent_version_number"]) == (4, 2)


def store(session: Session, draft_id: DraftId, content: str, base: int, actor: Actor) -> None:
    store_working_copy(
        session,
        draft_id,
        WorkingCopyPut(content=content, base_version_number=base, revision=0, window_id="a"),
        actor=actor,
    )


def _age(session: Session) -> None:
    session.execute(sa.update(DraftWorkingCopy).values(updated_at=clock.now() - timedelta(minutes=11)))


# ---- what the database itself holds


def test_the_current_version_and_parents_are_of_the_same_draft(session: Session, alice: Actor) -> None:
    one, other = (make_draft(session, owner=alice, contents=["a", "b"]) for _ in range(2))
    session.commit()
    foreign = session.scalars(sa.select(DraftVersion.id).where(DraftVersion.draft_id == other)).first()
    for statement in (
        sa.update(Draft).where(Draft.id == one).values(current_version_id=foreign),
        sa.update(DraftVersion).where(DraftVersion.draft_id == one).values(parent_version_id=foreign),
    ):
        session.execute(statement)
        with pytest.raises(exc.IntegrityError):
            session.commit()
        session.rollback()
    with pytest.raises(exc.IntegrityError):
        session.execute(sa.update(DraftVersion).where(DraftVersion.draft_id == one).values(version_number=7))
    session.rollback()


@pytest.mark.parametrize("whose", [Draft, User])
def test_a_draft_goes_with_everything_that_is_its_own(session: Session, alice: Actor, whose: Any) -> None:
    draft = make_draft(session, owner=alice, contents=["a", "b"])
    store(session, draft, "c", 2, alice)
    session.commit()
    session.execute(sa.delete(whose).where(whose.id == (draft if whose is Draft else alice.user_id)))
    session.commit()
    for table in (Draft, DraftVersion, DraftWorkingCopy, DraftChat):
        assert session.scalar(sa.select(sa.func.count()).select_from(table)) == 0


def test_the_trash_is_emptied_with_its_chats(session: Session, alice: Actor) -> None:
    draft = make_draft(session, owner=alice, contents=["a", "b"])
    delete_draft(session, draft, actor=alice)
    assert purge_drafts(session, timedelta(days=30)) == 0
    assert purge_drafts(session, timedelta(days=-1)) == 1
    session.commit()
    for table in (Draft, DraftVersion, Chat):
        assert session.scalar(sa.select(sa.func.count()).select_from(table)) == 0


def test_texts_are_read_back_through_any_number_of_changes(session: Session, alice: Actor) -> None:
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
    """Random saves, branches and restores, beside a model in plain lists."""

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
            saved, is_new = create_version(self.session, self.draft_id, request, actor=self.alice)
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
        saved, is_new = create_version(self.session, self.draft_id, request, actor=self.alice)
        if is_new:
            self._made(new, parent, saved["version_number"])

    @rule(which=st.integers(0, 1000))
    def restore(self, which: int) -> None:
        number = which % len(self.texts) + 1
        made = restore_version(self.session, self.draft_id, number, actor=self.alice)
        self._made(self.texts[number - 1], number, made["version_number"])

    def _made(self, content: str, parent: int, number: int) -> None:
        self.texts.append(content)
        self.parents.append(parent)
        self.current = number

    @invariant()
    def every_version_is_as_it_was_made(self) -> None:
        listed = list_versions(self.session, self.draft_id, actor=self.alice, limit=1000)[::-1]
        assert [one["version_number"] for one in listed] == list(range(1, len(self.texts) + 1))
        assert [one["parent_version_number"] for one in listed] == self.parents
        for number, content in enumerate(self.texts, 1):
            version = get_version(self.session, self.draft_id, number, actor=self.alice)
            assert version["content"] == content
            spans = get_authorship(self.session, self.draft_id, number, actor=self.alice)["items"]
            assert sum(span["length"] for span in spans) == len(content)
            assert all(span["version_number"] <= number for span in spans)
        assert get_draft(self.session, self.draft_id, actor=self.alice)["current_version_number"] == self.current


def test_any_history_reads_as_it_was_made(session: Session, alice: Actor) -> None:
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
    hits, _ = search(session, typed, Narrowed(), actor=actor)
    return [(hit["draft"]["title"], "".join(piece["text"] for piece in hit["snippet"])) for hit in hits if hit["draft"]]


def test_a_draft_is_found_by_what_it_says_now(session: Session, alice: Actor, bob: Actor) -> None:
    draft = make_draft(session, owner=alice, contents=["The quick fox.", "The slow walrus."], title="Animals")
    assert has_unindexed_drafts(session) is False  # somebody may still save
    session.execute(sa.update(Draft).values(updated_at=clock.now() - timedelta(seconds=6)))
    assert has_unindexed_drafts(session) is True
    assert index_next_draft(session) is True
    assert index_next_draft(session) is False
    assert found_drafts(session, "walrus", alice) == [("Animals", "The slow walrus.")]
    assert found_drafts(session, "fox", alice) == []
    assert found_drafts(session, "walrus", bob) == []
    # The title of its chat stands beside it, and is not taken for its text.
    index_title(session, session.scalars(sa.select(DraftChat.chat_id)).one())
    assert len(found_drafts(session, "walrus", alice)) == 1
    delete_draft(session, draft, actor=alice)
    assert found_drafts(session, "walrus", alice) == []


def test_strangers_find_nothing(ana: Client, sign_in: SignIn) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "secret"}, expect=201)["id"]
    bob = sign_in("bob")
    assert bob.api("GET", "/drafts")["items"] == []
    assert bob.api("GET", f"/drafts/{draft}", expect=404)["code"] == "draft_not_found"
