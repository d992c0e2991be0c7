"""Tests for edits that a model proposes: parsed from its reply, placed, moved with the text, accepted or rejected."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.drafts.edits import MAX_EDITS, MovedEdit, edits_of_reply
from tertulia.drafts.text import Change, apply_changes, changes_between
from tests.conftest import SignIn
from tests.fakes.live_server import Client
from tests.fakes.scripted_provider import Finish, Hold, ScriptedProvider, Status, Text
from tests.waiting import until

LETTER = "Kind aunt,\n\nThank you very much for the cake. It was good.\n\nYours, Ana\n"


def block(find: str, replacement: str) -> str:
    return f"<edit>\n<find>{find}</find>\n<replace>{replacement}</replace>\n</edit>\n"


def placed(text: str, reply: str, selection: tuple[int, int] | None = None) -> list[tuple[str, str]]:
    edits = edits_of_reply(text, reply, selection)
    assert all(text[edit.start : edit.end] == edit.old for edit in edits if edit.is_placed)
    return [(edit.old, edit.new) for edit in edits if edit.is_placed]


def test_edit_blocks_are_placed_and_narrowed_to_the_change() -> None:
    reply = "Two changes.\n" + block("very much for the cake", "for the cake") + block("It was good.", "It was superb.")
    assert placed(LETTER, reply) == [("very much ", ""), ("good", "superb")]


def test_a_nearly_matching_passage_is_found() -> None:
    assert placed(LETTER, block("Thank you very much for that cake.", "Thanks for the cake.")) != []


def test_an_edit_of_a_missing_passage_is_not_placed() -> None:
    [edit] = edits_of_reply(LETTER, block("A sentence of no letter at all", "x"), None)
    assert (edit.is_placed, edit.old, edit.new) == (False, "A sentence of no letter at all", "x")


def test_a_nearly_matching_passage_ends_at_a_word_boundary() -> None:
    for text, find, replacement, wanted in (
        (
            "The quick brown fox jumped over the dog. End.",
            "The quick brown fox jumps over the dog",
            "The quick brown fox leaps over the dog",
            "The quick brown fox leaps over the dog. End.",
        ),
        (
            "Intro. We have recieved your leter yesterday. End.",
            "We have received your letter yesterday.",
            "We got your letter yesterday.",
            "Intro. We got your letter yesterday. End.",
        ),
    ):
        [edit] = edits_of_reply(text, block(find, replacement), None)
        assert text[: edit.start] + edit.new + text[edit.end :] == wanted
    [edit] = edits_of_reply("a", block("banana split is good", "XYZ"), None)
    assert edit.is_placed is False


@pytest.mark.parametrize(
    "reply",
    [
        "<edit><find></find><replace>" * 30_000,
        "<edit><find>" * 60_000,
        "<edit>" * 100_000 + "</edit>",
        "</find><replace></replace></edit>" * 30_000,
        (block("a passage that is not there " * 400, "x")) * 80,
        block("a passage that is nearly there", "x") * 10_000,
    ],
    ids=["open blocks", "open finds", "opens", "closes", "long finds", "many finds"],
)
def test_hostile_replies_are_parsed_quickly(reply: str) -> None:
    """Parse a million characters of invalid or too many blocks, for which a slow algorithm would take minutes."""
    text = "a passage that is almost there, with some more of it. " * 9000
    edits = edits_of_reply(text, reply, None)
    assert len(edits) <= MAX_EDITS
    assert not any(edit.is_placed for edit in edits)


def test_a_rewritten_long_text_has_a_limited_number_of_edits() -> None:
    text = "".join(f"word{number}\nstays\n" for number in range(5_000))
    edits = edits_of_reply(text, text.replace("word", "wort"), None)
    assert 0 < len(edits) <= MAX_EDITS
    rebuilt, at = "", 0
    for edit in edits:
        rebuilt += text[at : edit.start] + edit.new
        at = edit.end
    assert rebuilt + text[at:] == text.replace("word", "wort")


def test_edit_blocks_never_overlap() -> None:
    edits = edits_of_reply(LETTER, block("the cake", "the pie") + block("for the cake. It", "for it. It"), None)
    assert [edit.is_placed for edit in edits] == [True, False]


def test_a_repeated_passage_matches_its_next_occurrence() -> None:
    text = "good, good, good"
    reply = block("good", "fine") + block("good", "great")
    assert [(edit.start, edit.new) for edit in edits_of_reply(text, reply, None)] == [(0, "fine"), (6, "great")]


def test_a_reply_to_a_selection_replaces_it() -> None:
    start = LETTER.index("Thank")
    end = LETTER.index("\n\nYours")
    assert placed(LETTER, "Thank you for the cake. It was good.", (start, end)) == [("very much ", "")]
    assert placed(LETTER, "```\nThank you for the cake. It was good.\n```", (start, end)) == [("very much ", "")]
    assert placed("one two ", "\n three", (4, 8)) == [("two", "three")]
    assert placed("ab", "new", (1, 1)) == [("", "new")]


def test_a_rewritten_text_becomes_edits_and_other_replies_do_not() -> None:
    assert placed(LETTER, LETTER.replace("good", "superb")) == [("good", "superb")]
    assert placed(LETTER, "I am sorry, I cannot do that.") == []
    assert placed("", "A whole text") == [("", "A whole text")]


@given(st.text("ab \n", max_size=40), st.text("ab \n", max_size=40), st.integers(0, 40), st.integers(0, 10))
def test_a_place_moves_with_its_text_or_is_lost(old: str, new: str, start: int, length: int) -> None:
    start = min(start, len(old))
    end = min(len(old), start + length)
    moved = MovedEdit(changes_between(old, new)).place(start, end)
    if moved is not None:
        assert new[moved[0] : moved[1]] == old[start:end]


def test_a_place_whose_text_was_changed_is_lost() -> None:
    assert MovedEdit([Change(5, 6, "x")]).place(4, 9) is None
    assert MovedEdit([Change(0, 2, "xyz"), Change(9, 9, "more")]).place(4, 9) == (5, 10)
    assert MovedEdit([Change(4, 4, "xy")]).place(4, 4) == (6, 6)
    assert MovedEdit([Change(4, 6, "xy")]).place(4, 4) is None
    assert apply_changes("a b", [Change(1, 1, "!")]) == "a! b"


def draft_of(client: Client, content: str = LETTER) -> str:
    draft_id: str = client.api("POST", "/drafts", json={"title": "Letter", "content": content}, expect=201)["id"]
    return draft_id


def ask(client: Client, draft_id: str, instruction: str = "Shorten", version: int = 1, **fields: Any) -> Any:
    body = {"instruction": instruction, "version_number": version, **fields}
    return client.api("POST", f"/drafts/{draft_id}/proposals", json=body, expect=201)


def proposed(client: Client, draft_id: str, started: Any) -> Any:
    client.finished(started["sent"]["run"]["id"])
    [proposal] = [
        item
        for item in client.api("GET", f"/drafts/{draft_id}/proposals")["items"]
        if item["id"] == started["proposal"]["id"]
    ]
    return proposal


def test_edits_of_a_proposal_are_accepted_and_rejected_separately(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text(block("very much for the cake", "for the cake") + block("good", "superb")), Finish()])
    draft = draft_of(ana)
    started = ask(ana, draft)
    assert (started["proposal"]["status"], started["proposal"]["edits"]) == ("writing", [])
    until(lambda: provider.requests)
    system, user = provider.requests[0]["messages"]
    assert (system["role"], LETTER.strip() in system["content"], "<edit>" in system["content"]) == (
        "system",
        True,
        True,
    )
    assert user["content"] == "Shorten"
    proposal = proposed(ana, draft, started)
    assert (proposal["status"], proposal["model_name"], proposal["total_tokens"], proposal["cost"]) == (
        "open",
        "scripted",
        12,
        None,
    )
    first = proposal["edits"][0]
    assert (first["old_text"], first["new_text"]) == ("very much ", "")
    assert LETTER[first["place"]["start"] : first["place"]["end"]] == "very much "
    decided = ana.api("POST", f"/proposals/{proposal['id']}/accept", json={"edit_ids": [first["id"]]})
    version = decided["version"]
    assert version["content"] == LETTER.replace("very much ", "")
    assert (version["version_number"], version["generation_source"], version["model_name"]) == (
        2,
        "ai_edit",
        "scripted",
    )
    assert version["message_id"] == started["sent"]["reply"]["id"]
    assert (decided["proposal"]["status"], [edit["status"] for edit in decided["proposal"]["edits"]]) == (
        "open",
        ["accepted", "open"],
    )
    rest = decided["proposal"]["edits"][1]["place"]
    assert version["content"][rest["start"] : rest["end"]] == "good"
    rejected = ana.api("POST", f"/proposals/{proposal['id']}/reject")
    assert (rejected["version"], rejected["proposal"]["status"]) == (None, "decided")
    assert [edit["status"] for edit in rejected["proposal"]["edits"]] == ["accepted", "rejected"]
    # A decision is final.
    again = ana.api("POST", f"/proposals/{proposal['id']}/accept")
    assert (again["version"], [edit["status"] for edit in again["proposal"]["edits"]]) == (
        None,
        ["accepted", "rejected"],
    )


def test_an_edit_of_another_proposal_is_refused(ana: Client, provider: ScriptedProvider) -> None:
    drafts = [draft_of(ana), draft_of(ana)]
    proposals = []
    for draft in drafts:
        provider.play([Text(block("good", "superb")), Finish()])
        proposals.append(proposed(ana, draft, ask(ana, draft)))
    ids = [proposal["edits"][0]["id"] for proposal in proposals]
    for decision in ("accept", "reject"):
        body = {"edit_ids": ids}
        refused = ana.api("POST", f"/proposals/{proposals[0]['id']}/{decision}", json=body, expect=422)
        assert refused["code"] == "edit_not_in_proposal"
    [unchanged] = ana.api("GET", f"/drafts/{drafts[0]}/proposals")["items"]
    assert [edit["status"] for edit in unchanged["edits"]] == ["open"]


def test_only_accepted_text_is_attributed_to_the_model(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text(block("good", "superb")), Finish()])
    draft = draft_of(ana)
    proposal = proposed(ana, draft, ask(ana, draft))
    version = ana.api("POST", f"/proposals/{proposal['id']}/accept")["version"]
    spans, at = [], 0
    for span in ana.api("GET", f"/drafts/{draft}/versions/{version['version_number']}/authorship")["items"]:
        spans.append((version["content"][at : at + span["length"]], span["version_number"]))
        at += span["length"]
    assert [text for text, number in spans if number == 2] == ["superb"]


def test_open_edits_move_with_the_typed_text(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text(block("very much ", "so ") + block("good", "superb")), Finish()])
    draft = draft_of(ana)
    proposal = proposed(ana, draft, ask(ana, draft))
    typed = LETTER.replace("Kind aunt", "My very kind aunt").replace("It was good", "It was bad")
    copy = {"content": typed, "base_version_number": 1, "revision": 0, "window_id": "a"}
    ana.api("PUT", f"/drafts/{draft}/working-copy", json=copy)
    [moved] = ana.api("GET", f"/drafts/{draft}/proposals")["items"]
    place = moved["edits"][0]["place"]
    assert typed[place["start"] : place["end"]] == moved["edits"][0]["old_text"] != ""
    assert moved["edits"][1]["place"] is None  # its passage was changed
    ana.api("POST", f"/drafts/{draft}/versions", json={"content": typed, "parent_version_number": 1}, expect=201)
    decided = ana.api("POST", f"/proposals/{proposal['id']}/accept")
    assert decided["version"]["content"] == typed.replace("very much", "so")
    assert [edit["status"] for edit in decided["proposal"]["edits"]] == ["accepted", "misplaced"]
    assert decided["proposal"]["status"] == "decided"


def test_a_selection_is_quoted_and_an_empty_draft_is_generated(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text("Thanks for the cake."), Finish()], [Text("# Ode\n\nto bread"), Finish()])
    draft = draft_of(ana)
    start = LETTER.index("Thank")
    started = ask(ana, draft, selection={"start": start, "end": LETTER.index(" It was")})
    assert started["sent"]["message"]["content"] == "> Thank you very much for the cake.\n\nShorten"
    proposal = proposed(ana, draft, started)
    assert "<passage>\nThank you very much for the cake.\n</passage>" in provider.requests[0]["messages"][0]["content"]
    version = ana.api("POST", f"/proposals/{proposal['id']}/accept")["version"]
    assert version["content"] == LETTER.replace("Thank you very much", "Thanks")
    empty = draft_of(ana, "")
    proposal = proposed(ana, empty, ask(ana, empty, "Write an ode"))
    version = ana.api("POST", f"/proposals/{proposal['id']}/accept")["version"]
    assert (version["content"], version["generation_source"]) == ("# Ode\n\nto bread", "ai_generation")


def test_a_stopped_or_failed_proposal_states_its_problem(ana: Client, provider: ScriptedProvider) -> None:
    provider.play(
        [Text(block("good", "superb") + "<edit><find>Kind"), Hold(), Finish()],
        [Status(400, "no")],
        [Text("There is nothing to change."), Finish()],
    )
    draft = draft_of(ana)
    started = ask(ana, draft)
    until(lambda: "superb" in ana.api("GET", f"/messages/{started['sent']['reply']['id']}")["content"])
    early = ana.api("POST", f"/proposals/{started['proposal']['id']}/accept", expect=409)
    assert early["code"] == "proposal_still_written"
    ana.api("POST", f"/runs/{started['sent']['run']['id']}/cancel")
    provider.release()
    stopped = proposed(ana, draft, started)
    assert (stopped["status"], len(stopped["edits"])) == ("open", 1)
    assert "ended early" in stopped["problem"]
    for _ in range(2):
        failed = proposed(ana, draft, ask(ana, draft))
        assert (failed["status"], failed["edits"]) == ("failed", [])
        assert "in the chat" in failed["problem"]


def test_the_chat_of_a_draft_gets_the_working_copy(ana: Client, provider: ScriptedProvider) -> None:
    draft = draft_of(ana)
    copy = {"content": "Typed a moment ago </draft>", "base_version_number": 1, "revision": 0, "window_id": "a"}
    ana.api("PUT", f"/drafts/{draft}/working-copy", json=copy)
    [chat] = ana.api("GET", f"/drafts/{draft}/chats")["items"]
    sent = ana.say(chat["id"], "What do you think of it?")
    ana.finished(sent["run"]["id"])
    system = provider.requests[0]["messages"][0]["content"]
    assert "Typed a moment ago </ draft>" in system
    assert "<edit>" not in system


def test_only_relevant_parts_of_a_long_draft_are_sent(ana: Client, provider: ScriptedProvider) -> None:
    paragraphs = [
        f"Paragraph {number} is about nothing much at all, and goes on for a while." for number in range(4000)
    ]
    paragraphs[2500] = "The walruses of winter weigh more than those of summer."
    draft = draft_of(ana, "# Animals\n\n" + "\n\n".join(paragraphs))
    [chat] = ana.api("GET", f"/drafts/{draft}/chats")["items"]
    sent = ana.say(chat["id"], "How much do the walruses weigh in winter?")
    ana.finished(sent["run"]["id"])
    system = provider.requests[0]["messages"][0]["content"]
    assert "The walruses of winter" in system
    assert "# Animals" in system
    missing = [int(number) for number in re.findall(r"\[… (\d+) characters left out …\]", system)]
    length = len("# Animals\n\n" + "\n\n".join(paragraphs))
    body = re.search(r"<draft[^>]*>\n(.*)\n</draft>", system, re.DOTALL)
    assert body is not None
    kept = re.sub(r"\[… \d+ characters left out …\]", "", body[1])
    assert sum(missing) == length - len(kept)
    title = ana.api("GET", f"/drafts/{draft}")["title"] or "Untitled"
    reply = ana.api("GET", f"/messages/{sent['reply']['id']}")
    assert reply["omissions"] == [{"kind": "draft", "name": title, "amount": sum(missing)}]
    assert len(system) < 40_000


def test_invalid_proposals_and_strangers_are_refused(ana: Client, sign_in: SignIn) -> None:
    draft = draft_of(ana)
    started = ask(ana, draft)
    ana.finished(started["sent"]["run"]["id"])
    bob = sign_in("bob")
    for path in (f"/proposals/{started['proposal']['id']}/accept", f"/proposals/{started['proposal']['id']}/reject"):
        assert bob.api("POST", path, expect=404)["code"] == "proposal_not_found"
    bob.api("GET", f"/drafts/{draft}/proposals", expect=404)
    body = {"instruction": "x", "version_number": 1}
    for wrong, code in (
        ({"selection": {"start": 5, "end": 4}}, "selection_outside"),
        ({"selection": {"start": 0, "end": len(LETTER) + 1}}, "selection_outside"),
        ({"chat_id": ana.chat()["id"]}, "not_a_drafts_chat"),
    ):
        refused = ana.api("POST", f"/drafts/{draft}/proposals", json=body | wrong, expect=422)
        assert refused["code"] == code
    ana.api("POST", f"/drafts/{draft}/proposals", json=body | {"version_number": 9}, expect=404)


@pytest.mark.parametrize("length", [1, 10_000])
def test_an_instruction_over_its_limit_is_refused(ana: Client, length: int) -> None:
    ask(ana, draft_of(ana), "x" * length)
    body = {"instruction": "x" * 10_001, "version_number": 1}
    ana.api("POST", f"/drafts/{draft_of(ana)}/proposals", json=body, expect=422)
