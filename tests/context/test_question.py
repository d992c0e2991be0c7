"""Test the rule of assembly: the question reaches the model, everything fits, and what is missing is reported exactly."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.chat.models import Message, Omission
from tertulia.chat.parts import TextPart, ToolCallPart
from tertulia.context.branch import CHUNK, PromptSource, _told, read_back
from tertulia.context.compaction.plan import BranchScan
from tertulia.context.cutting import cut_file, loaded_file, omissions_of
from tertulia.context.messages import ContextMessage, SentCall, SentFile, Turn, WholeFile, estimate_tokens
from tertulia.context.service import gather_context
from tertulia.context.window import MIN_ROOM, plan_context
from tertulia.runs.request.prepare import _state_block
from tertulia.tools.models import StoredResult, ToolStatus
from tertulia.tools.protocol import Tool
from tests.factories.chats import add_message, make_chat
from tests.factories.tool_calls import make_run, propose, script_calls, set_approval_rules
from tests.fakes.live_server import Client
from tests.fakes.scripted_provider import Call, Finish, ScriptedProvider, Text
from tests.fakes.tools import Recorder
from tests.files.test_files import ready


@pytest.fixture
def tools() -> Sequence[Tool]:
    return [Recorder()]


NOTE = re.compile(r"\[… (\d+) characters left out …\]")


def file_of(text: str, loaded: int | None = None) -> SentFile:
    """Return a file of which at most `loaded` characters were loaded."""
    is_long = loaded is not None and len(text) > loaded
    half = (loaded or 0) // 2
    head, tail = (text[:half], text[len(text) - half :]) if is_long else (text, "")
    return cut_file(SentFile("id", "notes.txt", head, tail, len(text), ""), 10**9)


texts = st.builds(
    lambda word, count: word * count, st.sampled_from(["word ", "日本", "x", "1.5\n"]), st.integers(0, 3000)
)
as_text = st.builds(file_of, texts.filter(bool), st.sampled_from([None, 500]))
# The model takes some files as they are, if there is room.
as_file = st.builds(
    lambda file, tokens: replace(file, whole=WholeFile("application/pdf", tokens)), as_text, st.integers(1, 9000)
)
files = st.lists(as_text | as_file, max_size=3).map(tuple)
echoes = st.none() | st.integers(0, 40_000).map(lambda count: "e" * count)
arguments = st.integers(0, 9000).map(lambda count: '{"a":"' + "x" * count + '"}')
calls = st.builds(SentCall, st.just("c"), st.just("look"), arguments, texts, echoes)
turns = st.lists(
    st.builds(Turn, st.text(max_size=30), st.lists(calls, min_size=1, max_size=3).map(tuple), echoes), max_size=3
)
replies = st.builds(ContextMessage, st.just("assistant"), st.text(max_size=300), turns=turns.map(tuple), echo=echoes)
questions = st.builds(ContextMessage, st.just("user"), st.text("abc ", min_size=1, max_size=400), files=files)


@given(st.lists(replies | questions, max_size=6), questions, st.none() | replies, st.integers(MIN_ROOM, 20_000))
def test_the_words_of_the_question_are_sent_whole_and_everything_fits(
    before: list[ContextMessage], question: ContextMessage, newest: ContextMessage | None, room: int
) -> None:
    system = ContextMessage("system", "Be kind. " * 20)
    branch = [system, *before, question, *([newest] if newest is not None else [])]
    planned = plan_context(branch, room)
    sent = [item.sent for item in planned if item.sent is not None]
    assert sum(message.tokens for message in sent) <= room
    sent_question = next(item.sent for item in planned if item.message is question)
    assert sent_question is not None
    # Words, names of files, and for each call of the last turn its name, the note about its arguments and its result.
    names = sum(min(file.tokens, estimate_tokens(file.note)) for file in question.files)
    last = newest.turns[-1:] if newest is not None else ()
    of_calls = sum(30 + 100 * len(turn.calls) for turn in last) + (40 if newest is not None else 0)
    if estimate_tokens(question.content) + names + of_calls <= room - room * 3 // 4:
        assert (sent_question.content, sent_question.omitted) == (question.content, 0)
    for item in planned:
        if item.sent is not None:
            check_omissions(item.message, item.sent)


def exchange(number: int, echo: str | None = None) -> list[ContextMessage]:
    return [
        ContextMessage("user", "word " * 30, f"q{number}"),
        ContextMessage("assistant", "word " * 30, f"r{number}", echo=echo),
    ]


def test_a_long_file_leaves_the_history_half_of_the_room() -> None:
    file = loaded_file(SentFile("id", "long.txt", "word " * 5000, "word " * 5000, 72_000, ""))
    history = [message for number in range(10) for message in exchange(number)]
    planned = plan_context([*history, ContextMessage("user", "What does it say?", "q", files=(file,))], 7168)
    assert [item.reason for item in planned] == ["fits"] * 20 + ["newest"]
    assert planned[-1].sent is not None
    assert planned[-1].sent.files[0].omitted < 60_000


def test_old_thoughts_are_left_out_before_any_message() -> None:
    history = [message for number in range(20) for message in exchange(number, "x" * 8000)]
    planned = plan_context([*history, ContextMessage("user", "And now?", "q")], 7168)
    assert all(item.sent is not None for item in planned)
    kept = [
        item.sent is not None and item.sent.echo is not None for item in planned if item.message.role == "assistant"
    ]
    assert kept == sorted(kept)  # the newest are kept
    assert any(kept)


def test_thoughts_and_long_arguments_give_way_to_the_question() -> None:
    question = ContextMessage("user", "word " * 3400, "q")
    call = SentCall("c", "write", '{"text":"' + "x" * 15_000 + '"}', "done", "signature" * 500)
    reply = ContextMessage("assistant", "", "r", turns=(Turn("", (call,), "y" * 20_000),))
    first, second = plan_context([question, reply], 7168)
    assert first.sent == question
    assert second.sent is not None
    assert [call.result for turn in second.sent.turns for call in turn.calls] == ["done"]


def check_omissions(message: ContextMessage, sent: ContextMessage) -> None:
    """Compare the reported numbers with what is really missing."""
    for whole, part in zip(message.files, sent.files, strict=True):
        assert part.omitted == whole.length - kept_of(part.text, whole.head, whole.tail or whole.head)
    for turn in sent.turns:
        for call in turn.calls:
            original = call.result if call.whole is None else call.whole
            assert call.omitted == len(original) - kept_of(call.result, original, original)
    if not message.turns:
        assert sent.omitted == len(message.content) - kept_of(sent.content, message.content, message.content)


def kept_of(text: str, head: str, tail: str) -> int:
    """Return how many characters of a text are in its shortened form; the note must name the others."""
    text = re.sub(r'^<file name="notes.txt"[^>]*>\n?|\n?</file>$', "", text)
    note = NOTE.search(text)
    if note is None:
        return len(text) if text == head else 0
    first, last = text[: note.start() - 1], text[note.end() + 1 :]
    assert head.startswith(first)
    assert tail.endswith(last)
    return len(first) + len(last)


def test_a_file_without_room_is_still_named_with_its_size() -> None:
    whole = file_of("word " * 1000)
    note = '<file name="notes.txt">[5000 characters left out]</file>'
    for room in (estimate_tokens(note), estimate_tokens(note) + 5):
        assert (cut_file(whole, room).text, cut_file(whole, room).omitted) == (note, 5000)
    nothing = cut_file(whole, estimate_tokens(note) - 1)
    assert (nothing.text, nothing.omitted, nothing.tokens) == ("", 5000, 0)


def test_a_result_larger_than_the_window_does_not_push_out_the_question(session: Session, alice: Actor) -> None:
    run = make_run(session, alice)
    question = add_message(session, run.chat_id, "What is the secret word?", owner=alice)  # type: ignore[arg-type]
    reply = add_message(session, run.chat_id, "", owner=alice, is_reply=True)  # type: ignore[arg-type]
    result = StoredResult(kind="text", content="x" * 30_000, size_bytes=30_000)
    call = propose(session, run, status=ToolStatus.COMPLETED, message_id=reply, result=result)
    session.get_one(Message, reply).parts = [
        TextPart(text="I look."),
        ToolCallPart(tool_execution_id=call, tool_name="record"),
    ]
    session.flush()
    context = gather_context(session, PromptSource(run.chat_id, reply, 8192))
    texts = [message.content for message in context.messages]
    assert "What is the secret word?" in texts
    assert question in [message.message_id for message in context.messages]
    (omission,) = context.omissions
    assert (omission.kind, omission.name) == ("result", "record")
    (sent,) = [call for message in context.messages for turn in message.turns for call in turn.calls]
    assert f"[… {omission.amount} characters left out …]" in sent.result


def sent_texts(provider: ScriptedProvider) -> str:
    return "\n".join(str(message["content"]) for message in provider.requests[-1]["messages"])


def test_both_ends_of_a_long_file_are_sent_and_the_rest_is_reported(ana: Client, provider: ScriptedProvider) -> None:
    lines = "".join(f"line {number:04d} of the log\n" for number in range(3000))
    file = ready(ana, "long.txt", f"{lines}The last word is MARZIPAN.".encode())
    chat = ana.chat()
    provider.play([Text("Marzipan."), Finish()])
    sent = ana.say(chat["id"], "What is the last word?", attachment_ids=[file["id"]])
    ana.finished(sent["run"]["id"])
    prompt = sent_texts(provider)
    assert "What is the last word?" in prompt
    assert "line 0000" in prompt
    assert "MARZIPAN" in prompt
    assert f'attachment_id="{file["id"]}"' in prompt
    (missing,) = [int(number) for number in NOTE.findall(prompt)]
    reply = ana.api("GET", f"/messages/{sent['reply']['id']}")
    assert reply["omissions"] == [{"kind": "file", "name": "long.txt", "amount": missing}]
    kept = re.search(r"<file[^>]*>\n(.*)\n</file>", prompt, re.DOTALL)
    assert kept is not None
    length = len(lines) + len("The last word is MARZIPAN.")
    assert missing == length - len(NOTE.sub("", kept[1])) + 2  # the two line ends around the note
    items = ana.api("GET", f"/chats/{chat['id']}/context")["items"]
    assert [(item["omitted"] > 0, item["reason"]) for item in items] == [(True, "newest"), (False, "newest")]
    assert "<file" not in items[0]["excerpt"]
    ana.finished(ana.say(chat["id"], "And now?")["run"]["id"])
    items = ana.api("GET", f"/chats/{chat['id']}/context")["items"]
    assert [(item["omitted"] > 0, item["reason"]) for item in items][:2] == [(True, "shortened"), (False, "fits")]
    assert ana.api("GET", f"/messages/{sent['message']['id']}")["omissions"] == []


def test_a_long_result_is_reported_with_the_reply(ana: Client, provider: ScriptedProvider) -> None:
    chat = ana.chat(settings={"tools": ["record"]})
    ana.api("PATCH", f"/chats/{chat['id']}", json={"context_window_size": 2048})
    set_approval_rules(ana)
    provider.play(script_calls(Call("record", {"text": "y" * 30_000})), [Text("Done."), Finish()])
    sent = ana.say(chat["id"], "Write it down")
    ana.finished(sent["run"]["id"])
    prompt = sent_texts(provider)
    assert "Write it down" in prompt
    (missing,) = [int(number) for number in NOTE.findall(prompt)]
    omissions = ana.api("GET", f"/messages/{sent['reply']['id']}")["omissions"]
    assert {"kind": "result", "name": "record", "amount": missing} in omissions
    assert missing > 20_000


def test_the_question_is_searched_within_a_bounded_number_of_replies(session: Session, alice: Actor) -> None:
    chat_id = make_chat(session, owner=alice)
    add_message(session, chat_id, "Where is it?", owner=alice)
    ids = [add_message(session, chat_id, "word " * 100, owner=alice, is_reply=True) for _ in range(CHUNK + 20)]
    for replies, has_question in ((CHUNK // 2, True), (CHUNK + 20, False)):
        messages, _ = read_back(session, ids[replies - 1], 64, BranchScan([]))
        assert any(message.content == "Where is it?" for message in messages) is has_question
        assert len(messages) <= CHUNK + 1


def test_omissions_of_a_kind_are_summed() -> None:
    def reply(*amounts: int) -> ContextMessage:
        calls_of_turn: list[Any] = [SentCall("c", "look", "{}", "", omitted=amount) for amount in amounts]
        return ContextMessage("assistant", "", turns=(Turn("", tuple(calls_of_turn)),), omitted=5)

    system = ContextMessage("system", "", omitted=7)
    pictures = ContextMessage("user", "", omitted_pictures=2)
    assert omissions_of([system, reply(1, 2), reply(0, 4), pictures]) == [
        Omission(kind="system", amount=7),
        Omission(kind="message", amount=10),
        Omission(kind="result", name="look", amount=7),
        Omission(kind="picture", amount=2),
    ]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_pictures_leave_room_for_the_words(count: int) -> None:
    question = ContextMessage("user", "word " * 1000, pictures=tuple(map(str, range(count))))
    (planned,) = plan_context([question], 2000)
    assert planned.sent is not None
    assert (planned.sent.content, planned.sent.omitted_pictures) == (question.content, count)


@pytest.mark.parametrize(("room", "kept"), [(0, 0), (40, 1), (10_000, 900)])
def test_what_is_missing_of_the_chat_state_is_counted(room: int, kept: int) -> None:
    state = "s" * 900
    quoted = _state_block(state, room)
    omitted = sum(omission.amount for omission in quoted.missing)
    assert [omission.kind for omission in quoted.missing] == (["state"] if omitted else [])
    assert quoted.text.count("s" * 20) >= bool(kept)
    inner = re.search(r"<chat_state>\n(.*)\n</chat_state>", quoted.text, re.DOTALL)
    assert omitted == 900 - (len(re.sub(r"\n\[… \d+ characters left out …\]\n", "", inner[1])) if inner else 0)


def test_what_is_missing_of_a_summary_is_counted() -> None:
    (message,) = _told("Be kind.", "word " * 1000, None, 600)
    (omission,) = message.omissions()
    assert omission.kind == "summary"
    assert f"[… {omission.amount} characters left out …]" in message.content
