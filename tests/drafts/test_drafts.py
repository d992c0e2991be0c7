"""Tests for drafts and their versions: a numbered tree without gaps, in which nothing is overwritten."""

import threading
from typing import Any

import pytest
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.row_limits import RowLimits
from tertulia.drafts.errors import DraftTooLong
from tertulia.drafts.models import MAX_CONTENT
from tertulia.drafts.schemas import DraftCreate, VersionCreate
from tertulia.drafts.service import (
    create_draft,
    create_version,
    get_authorship,
    get_version,
    restore_version,
)
from tertulia.ids import DraftId, new_id
from tests.drafts.calls import save
from tests.factories.chats import add_message, make_chat
from tests.factories.drafts import make_draft
from tests.fakes.live_server import Client
from tests.fakes.scripted_provider import Finish, ScriptedProvider, Text
from tests.waiting import Listener


def test_a_new_draft_has_a_version_and_a_chat(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"title": " To  my aunt "}, expect=201)
    assert (draft["title"], draft["version_count"], draft["current_version_number"]) == ("To my aunt", 1, 1)
    version = draft["current_version"]
    assert (version["content"], version["parent_version_number"], version["generation_source"]) == ("", None, "user")
    assert version["author"] == {"id": ana.user["id"], "name": "Ana"}
    [chat] = ana.api("GET", f"/drafts/{draft['id']}/chats")["items"]
    assert (chat["kind"], chat["title"]) == ("draft", "To my aunt")
    assert ana.api("GET", "/chats")["items"] == []  # it is listed only with its draft
    other = ana.api("POST", f"/drafts/{draft['id']}/chats", expect=201)
    assert [item["id"] for item in ana.api("GET", f"/drafts/{draft['id']}/chats")["items"]] == [other["id"], chat["id"]]
    assert ana.api("POST", "/drafts", json={"content": "## Plans\n\nMany"}, expect=201)["title"] == "Plans"


def test_versions_form_a_numbered_tree_and_keep_their_text(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "one"}, expect=201)["id"]
    assert save(ana, draft, "one two", 1)["version_number"] == 2
    assert save(ana, draft, "one two three", 2)["version_number"] == 3
    branch = save(ana, draft, "uno", 1, branch=True)
    assert (branch["version_number"], branch["parent_version_number"], branch["merged"]) == (4, 1, False)
    restored = ana.api("POST", f"/drafts/{draft}/versions/3/restore", expect=201)
    assert (restored["version_number"], restored["parent_version_number"]) == (5, 3)
    tree = ana.api("GET", f"/drafts/{draft}/versions")["items"]
    assert [(version["version_number"], version["parent_version_number"]) for version in tree] == [
        (5, 3),
        (4, 1),
        (3, 2),
        (2, 1),
        (1, None),
    ]
    assert all("content" not in version for version in tree)
    texts = [ana.api("GET", f"/drafts/{draft}/versions/{number}")["content"] for number in range(1, 6)]
    assert texts == ["one", "one two", "one two three", "uno", "one two three"]
    first = ana.api("GET", f"/drafts/{draft}/versions?limit=2")
    rest = ana.api("GET", f"/drafts/{draft}/versions?limit=200&cursor={first['next_cursor']}")
    assert [version["version_number"] for version in first["items"] + rest["items"]] == [5, 4, 3, 2, 1]
    ana.api("GET", f"/drafts/{draft}/versions/6", expect=404)


def test_a_save_on_an_older_version_is_merged(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "The quick fox.\n\nThe lazy dog.\n"}, expect=201)["id"]
    save(ana, draft, "The slow fox.\n\nThe lazy dog.\n", 1)
    merged = save(ana, draft, "The quick fox.\n\nThe sleeping dog.\n", 1)
    assert merged["merged"] is True
    assert merged["content"] == "The slow fox.\n\nThe sleeping dog.\n"
    assert (merged["parent_version_number"], merged["base_version_number"]) == (2, 1)


def test_a_conflicting_save_returns_both_sides_and_stores_nothing(ana: Client) -> None:
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


def test_saving_an_equal_text_creates_no_version(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "same\r\nlines"}, expect=201)["id"]
    assert save(ana, draft, "same\nlines", 1, expect=200)["version_number"] == 1
    save(ana, draft, "other", 1)
    assert save(ana, draft, "other", 1, expect=200)["version_number"] == 2


def test_changing_the_title_or_description_needs_the_current_etag(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"title": "Old"}, expect=201)["id"]
    etag = ana.get(f"/drafts/{draft}").headers["ETag"]
    assert ana.api("PATCH", f"/drafts/{draft}", json={"title": "New"}, expect=428)["code"] == "if_match_missing"
    changed = ana.api("PATCH", f"/drafts/{draft}", json={"title": "New"}, headers={"If-Match": etag})
    assert (changed["title"], changed["revision"]) == ("New", 2)
    refused = ana.api("PATCH", f"/drafts/{draft}", json={"title": "Newer"}, headers={"If-Match": etag}, expect=409)
    assert refused["code"] == "draft_changed"
    save(ana, draft, "text", 1)  # a save keeps the draft's ETag
    ana.api("PATCH", f"/drafts/{draft}", json={"description": "d"}, headers={"If-Match": '"2"'})
    for wrong in ("*", '"x"', '"99999999999999"'):
        ana.api("PATCH", f"/drafts/{draft}", json={}, headers={"If-Match": wrong}, expect=409)


def test_drafts_over_their_limits_are_refused(ana: Client) -> None:
    most = "x" * MAX_CONTENT
    draft = ana.api("POST", "/drafts", json={"content": most}, expect=201)["id"]
    ana.api("POST", "/drafts", json={"content": most + "x"}, expect=422)
    assert ana.api("GET", f"/drafts/{draft}")["length"] == MAX_CONTENT
    save(ana, draft, most + "x", 1, expect=422)
    copy = {"content": most + "x", "base_version_number": 1, "revision": 0, "window_id": "a"}
    ana.api("PUT", f"/drafts/{draft}/working-copy", json=copy, expect=422)
    ana.api("POST", "/drafts", json={"title": "t" * 255}, expect=201)
    ana.api("POST", "/drafts", json={"title": "t" * 256}, expect=422)
    # Two texts that fit may be too long when merged.
    half = "a" * (MAX_CONTENT - 1)
    other = ana.api("POST", "/drafts", json={"content": half}, expect=201)["id"]
    save(ana, other, "b\n" + half[:-1], 1)
    refused = save(ana, other, half + "\nc", 1, expect=422)
    assert refused["code"] in ("invalid", "draft_too_long")


def test_only_the_name_of_a_version_can_change(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "a"}, expect=201)["id"]
    named = ana.api("PATCH", f"/drafts/{draft}/versions/1", json={"name": "As sent"})
    assert (named["name"], named["content"]) == ("As sent", "a")
    assert ana.api("PATCH", f"/drafts/{draft}/versions/1", json={"name": None})["name"] is None
    ana.api("PATCH", f"/drafts/{draft}/versions/1", json={"content": "b"}, expect=422)


def test_two_versions_are_compared_word_by_word(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "One line.\nThe quick fox.\n"}, expect=201)["id"]
    save(ana, draft, "One line.\nThe slow fox.\nMore.\n", 1)
    diff = ana.api("GET", f"/drafts/{draft}/versions/2/diff?against=1")
    assert [(piece["kind"], piece["text"]) for piece in diff["pieces"]] == [
        ("same", "One line.\nThe "),
        ("removed", "quick"),
        ("added", "slow"),
        ("same", " fox"),
        ("added", ".\nMore"),
        ("same", ".\n"),
    ]
    ana.api("GET", f"/drafts/{draft}/versions/2/diff?against=7", expect=404)


def test_a_draft_of_a_reply_is_attributed_to_the_model(ana: Client, provider: ScriptedProvider) -> None:
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
def test_a_blank_draft_has_no_title(ana: Client, content: str) -> None:
    assert ana.api("POST", "/drafts", json={"content": content}, expect=201)["title"] is None


def test_a_reply_too_long_for_a_draft_is_refused(session: Session, alice: Actor) -> None:
    message = add_message(session, make_chat(session, owner=alice), "x" * (MAX_CONTENT + 1), owner=alice, is_reply=True)
    with pytest.raises(DraftTooLong):
        create_draft(session, alice, DraftCreate(message_id=message), RowLimits())


def test_saving_an_equal_text_may_name_the_version(ana: Client) -> None:
    draft = ana.api("POST", "/drafts", json={"content": "a"}, expect=201)["id"]
    assert save(ana, draft, "a", 1, expect=200, name="As sent")["name"] == "As sent"


def test_authorship_is_kept_through_saves_merges_and_restores(session: Session, alice: Actor) -> None:
    draft = make_draft(session, owner=alice, contents=["Kind aunt,\n", "Kind aunt,\nthank you.\n"])
    create_version(session, alice, draft, VersionCreate(content="My kind aunt,\nthank you.\n", parent_version_number=2))
    create_version(session, alice, draft, VersionCreate(content="Kind aunt,\nthank you!\n", parent_version_number=2))
    restored = restore_version(session, alice, draft, 2)
    merged = _origins(session, draft, 4, alice)
    assert "".join(text for text, _ in merged) == "My kind aunt,\nthank you!\n"
    assert ("!", 4) in merged
    assert dict(merged)["thank you"] == 2
    assert _origins(session, draft, restored["version_number"], alice) == [("Kind aunt,\n", 1), ("thank you.\n", 2)]


def _origins(session: Session, draft_id: DraftId, number: int, actor: Actor) -> list[tuple[str, int]]:
    content = get_version(session, actor, draft_id, number)["content"]
    origins, at = [], 0
    for span in get_authorship(session, actor, draft_id, number)["items"]:
        origins.append((content[at : at + span["length"]], span["version_number"]))
        at += span["length"]
    assert at == len(content)
    return origins


def test_deleting_and_restoring_a_draft_includes_its_chats(session: Session, ana: Client, settings: Any) -> None:
    draft = ana.api("POST", "/drafts", json={"title": "Gone"}, expect=201)["id"]
    [chat] = ana.api("GET", f"/drafts/{draft}/chats")["items"]
    ana.api("DELETE", f"/drafts/{draft}", expect=204)
    assert ana.api("GET", "/drafts")["items"] == []
    assert [item["id"] for item in ana.api("GET", "/drafts?trash=true")["items"]] == [draft]
    for path in ("", "/versions", "/versions/1", "/chats"):
        ana.api("GET", f"/drafts/{draft}{path}", expect=404)
    save(ana, draft, "x", 1, expect=404)
    ana.api("GET", f"/chats/{chat['id']}", expect=404)
    assert ana.api("POST", f"/drafts/{draft}/restore")["title"] == "Gone"
    assert ana.api("POST", f"/drafts/{draft}/restore")["title"] == "Gone"
    assert ana.api("GET", f"/chats/{chat['id']}")["id"] == chat["id"]


def test_drafts_are_listed_by_newest_change_first(ana: Client) -> None:
    draft_ids = [ana.api("POST", "/drafts", json={"title": str(number)}, expect=201)["id"] for number in range(5)]
    save(ana, draft_ids[1], "changed", 1)
    first = ana.api("GET", "/drafts?limit=2")
    second = ana.api("GET", f"/drafts?limit=2&cursor={first['next_cursor']}")
    third = ana.api("GET", f"/drafts?limit=2&cursor={second['next_cursor']}")
    titles = [item["title"] for page in (first, second, third) for item in page["items"]]
    assert (titles, third["next_cursor"]) == (["1", "4", "3", "2", "0"], None)


def test_changes_to_a_draft_send_events(ana: Client) -> None:
    listener = Listener(ana)
    draft = ana.api("POST", "/drafts", json={"content": "a"}, expect=201)["id"]
    save(ana, draft, "b", 1)
    ana.api(
        "PUT",
        f"/drafts/{draft}/working-copy",
        json={"content": "c", "base_version_number": 2, "revision": 0, "window_id": "a"},
    )
    listener.wait_for(lambda: ("draft_working_copy", "updated") in listener.changes)
    assert [change for change in listener.changes if change[0].startswith("draft")] == [
        ("draft", "created"),
        ("draft_version", "created"),
        ("draft", "updated"),
        ("draft_working_copy", "updated"),
    ]


def test_concurrent_saves_leave_no_gap_and_lose_nothing(ana: Client, engine_kind: str) -> None:
    # On PostgreSQL each save waits for the locks of the others, so use fewer.
    saves = 40 if engine_kind == "sqlite" else 25
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
        numbers += [item["version_number"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert numbers == list(range(16 * saves + 1, 0, -1))
