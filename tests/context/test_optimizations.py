"""Sending less: leaving out, summaries, compression; recorded, undone, and what is sent always fits."""

from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import UserRole
from tertulia.chat.messages import set_context_rule
from tertulia.chat.models import Chat, ChatSettings, ContextOptimization, ContextRule, Message, OptimizationType
from tertulia.chat.optimizations import mark_stale
from tertulia.context.branch import Reading, plan, read_back, read_branch
from tertulia.context.compression import compress, shorten_text
from tertulia.context.messages import ContextMessage
from tertulia.context.optimizations import Walk, find_boundary, load_active
from tertulia.context.service import fit, gather_context, plan_next, record, shorten_now
from tertulia.context.summaries import find_stale, find_to_summarize, try_summary, try_without
from tertulia.ids import ChatId, MessageId, UserId, new_id
from tests.factories.accounts import make_user
from tests.factories.chats import add_message, make_chat

# ---- compression


def test_what_is_said_again_is_said_once() -> None:
    code = "def area(width, height):\n    return width * height\n" * 2
    first = ContextMessage("assistant", f"Here:\n```python\n{code}```\nThat is it.", "1")
    again = ContextMessage("user", f"Why does\n```python\n{code}```\nfail?", "2")
    noise = ContextMessage("assistant", "start\n" + "retrying …\n" * 400 + "end", "3")
    data = ContextMessage("user", f"![x](data:image/png;base64,{'QUJD' * 200})", "4")
    short = ContextMessage("user", "ok", "5")
    made = compress([first, again, noise, data, short])
    assert code.strip() in made[0].content
    assert made[1].content == "Why does\n[the same code as above, which begins: def area(width, height):]\nfail?"
    assert made[2].content == "start\nretrying …\n[the line above 400 times in all]\nend"
    assert made[3].content == "![x](data:image/png;base64,[800 characters of data])"
    assert made[4] is short


@given(st.lists(st.text("ab \n`x", max_size=80), max_size=6))
def test_compression_never_takes_more_and_keeps_what_does_not_repeat(texts: list[str]) -> None:
    messages = [ContextMessage("user", text, str(number)) for number, text in enumerate(texts)]
    made = compress(messages)
    assert [one.message_id for one in made] == [one.message_id for one in messages]
    assert all(after.tokens <= before.tokens for after, before in zip(made, messages, strict=True))


def test_a_line_twice_is_no_repetition_and_three_times_is() -> None:
    assert shorten_text("a\na", set()) == "a\na"
    assert shorten_text("a\na\na", set()) == "a\n[the line above 3 times in all]"


@pytest.mark.parametrize(
    "text",
    [
        "a" + " " * 400_000 + "x",
        "\n```a" * 100_000,
        "data:image/png;base64," * 30_000,
        "[" * 300_000,
        "a\n\n" * 200_000,
    ],
)
def test_compression_takes_a_text_once_through_whoever_wrote_it(text: str) -> None:
    """A quadratic way would take minutes for each of these."""
    assert len(shorten_text(text, set())) <= len(text)


def test_of_two_blocks_the_one_that_is_sent_stays() -> None:
    code = "print('a long line of code that says something')\nprint('and another one, which says something else')\n"
    never_ends = f"```\n{code}"
    assert shorten_text(never_ends, set()) == never_ends
    seen: set[str] = set()
    shorten_text(f"```\n{code}```", seen)
    assert shorten_text(f"```py\n{code}```\nafter", seen).endswith(
        "which begins: print('a long line of code that says something')]\nafter"
    )


# ---- what counts on a branch, and what goes

MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(["user", "assistant"]),
        st.integers(1, 400),
        st.sampled_from(["auto", "auto", "pinned", "left_out"]),
    ),
    min_size=1,
    max_size=30,
)


@given(MESSAGES, st.integers(64, 2000))
def test_what_has_to_go_is_never_the_question_nor_what_is_pinned(
    given_messages: list[tuple[Any, int, Any]], budget: int
) -> None:
    messages = [
        ContextMessage(role, "x" * length, str(number), rule=rule)
        for number, (role, length, rule) in enumerate(given_messages)
    ]
    boundary = find_boundary(messages, budget)
    questions = [place for place, one in enumerate(messages) if one.role == "user"]
    last = questions[-1] if questions else len(messages) - 1
    if boundary is None:
        return
    assert int(boundary) < last
    stay = [one for place, one in enumerate(messages) if place > int(boundary) or one.rule == "pinned"]
    optional = [one for place, one in enumerate(messages) if int(boundary) < place < last and one.rule == "auto"]
    must = sum(one.tokens for one in stay if one.rule != "left_out" and one not in optional)
    assert must + sum(one.tokens for one in optional) <= budget or not optional


def grown(session: Session, count: int, words: int = 60) -> tuple[str, list[MessageId]]:
    owner = make_user(session, username=None)
    chat = make_chat(session, owner=owner)
    session.execute(
        sa.update(Chat).where(Chat.id == chat).values(context_window_size=1024, settings=ChatSettings(max_tokens=128))
    )
    ids: list[MessageId] = []
    for number in range(count):
        text = f"Message {number}. " + "word " * words
        ids.append(
            add_message(session, chat, text, owner=owner, is_reply=number % 2 == 1, after=ids[-1] if ids else None)
        )
    session.flush()
    return chat, ids


def test_leaving_out_makes_room_for_some_more_and_is_undone(session: Session) -> None:
    """S001-081 S001-084"""
    chat, ids = grown(session, 21)
    reading = Reading(chat, ids[-1], None)
    first = gather_context(session, reading)
    (row,) = session.scalars(sa.select(ContextOptimization))
    assert (row.optimization_type, row.trigger_reason) == (OptimizationType.TRUNCATION, "token_limit")
    assert row.tokens_after < row.tokens_before
    assert sum(one.tokens for one in first.messages) <= row.tokens_after <= 0.75 * 896
    kept = [one.message_id for one in first.messages]
    assert kept == ids[-len(kept) :]
    assert row.boundary_message_id == ids[-len(kept) - 1]
    assert set(row.affected_messages).isdisjoint(kept)
    assert gather_context(session, reading).messages == first.messages  # the same once more, and nothing recorded
    assert session.scalar(sa.select(sa.func.count()).select_from(ContextOptimization)) == 1
    # A branch without the question that it was made for is as it was: more of it fits.
    other = gather_context(session, Reading(chat, ids[8], None))
    assert [one.message_id for one in other.messages] == ids[:9]
    before = plan(read_branch(session, reading, []))
    row.undone_at = clock.now()
    session.flush()
    assert plan(read_branch(session, reading, load_active(session, chat))) == before


def test_what_is_pinned_stays_and_the_walk_ends_where_it_was_left_out(session: Session) -> None:
    chat, ids = grown(session, 31)
    session.execute(sa.update(Message).where(Message.id == ids[1]).values(context_rule=ContextRule.PINNED))
    reading = Reading(chat, ids[-1], None)
    gather_context(session, reading)
    context = gather_context(session, reading)
    assert context.messages[0].message_id == ids[1]
    walk = Walk(load_active(session, chat))
    assert not walk.meet(ids[-1])
    stop = walk.active[0].boundary
    assert walk.meet(stop)


@pytest.mark.parametrize("kind", list(OptimizationType))
def test_whatever_is_shortened_fits_and_is_undone_to_the_same(session: Session, kind: OptimizationType) -> None:
    """S001-074 S001-075 S001-082 S001-083"""
    chat, ids = grown(session, 12, words=20)
    repeated = "line\n" * 60
    session.execute(sa.update(Message).where(Message.id == ids[2]).values(content=repeated))
    session.flush()
    reading = Reading(chat, ids[-1], None)
    before = fit(session, reading)
    if kind is OptimizationType.SUMMARIZATION:
        wanted = find_to_summarize(session, reading, is_wanted=True)
        assert wanted is not None
        assert wanted.affected[0].message_id == ids[0]
        assert try_summary(session, wanted, "word " * 5000) is None  # longer than what it tells of
        made = try_summary(session, wanted, "They said words.")
    else:
        made = shorten_now(session, reading, kind)
    assert made is not None
    assert made.tokens_after < made.tokens_before
    row_id = record(session, reading, made)
    after = fit(session, reading)
    assert sum(one.sent.tokens for one in after.planned if one.sent) <= after.branch.budget
    if kind is OptimizationType.SUMMARIZATION:
        assert "They said words." in after.branch.messages[0].content
    if kind is OptimizationType.COMPRESSION:
        (shorter,) = [one for one in after.planned if one.why == "compressed"]
        assert shorter.sent is not None
        assert (shorter.message.content, shorter.sent.content) == (repeated, "line\n[the line above 60 times in all]\n")
    session.get_one(ContextOptimization, row_id).undone_at = clock.now()
    session.flush()
    assert fit(session, reading).planned == before.planned


def test_the_summary_that_there_was_is_not_lost_to_one_that_fails(session: Session) -> None:
    chat, ids = grown(session, 12, words=20)
    reading = Reading(chat, ids[8], None)
    wanted = find_to_summarize(session, reading, is_wanted=True)
    made = try_summary(session, wanted, "FACT.") if wanted is not None else None
    assert made is not None
    record(session, reading, made)
    reading = Reading(chat, ids[-1], None)
    wanted = find_to_summarize(session, reading, is_wanted=True)
    assert wanted is not None
    assert wanted.earlier is not None
    assert wanted.earlier.summary == "FACT."
    made = try_without(session, wanted)
    assert made is not None
    record(session, reading, made)
    now = fit(session, reading)
    assert (now.branch.walk.stop is not None, now.branch.walk.summary) == (True, "FACT.")
    # What it told of changed while the model wrote: it is not taken.
    session.execute(sa.update(ContextOptimization).values(summary="Changed."))
    assert try_summary(session, wanted, "New.") is None


def test_a_chat_goes_on_for_ever_and_each_step_reads_as_little(session: Session) -> None:
    """Every step is within the window, and what is recorded is far less than what is said."""
    chat, ids = grown(session, 300, words=30)
    read: list[int] = []
    for leaf in ids[20::2]:
        reading = Reading(chat, leaf, None)
        fitting = fit(session, reading)
        for made in fitting.made:
            record(session, reading, made)
        assert sum(one.sent.tokens for one in fitting.planned if one.sent) <= fitting.branch.budget
        read.append(len(fitting.branch.messages))
    assert max(read[-20:]) <= max(read[:20])
    assert (session.scalar(sa.select(sa.func.count()).select_from(ContextOptimization)) or 0) < len(ids) / 4


def test_what_was_left_out_for_a_small_window_goes_to_a_larger_one(session: Session) -> None:
    """S001-084: the record stays, and counts again where the window is small."""
    chat, ids = grown(session, 21)
    small = fit(session, Reading(chat, ids[-1], None))
    for made in small.made:
        record(session, Reading(chat, ids[-1], None), made)
    session.execute(sa.update(Chat).where(Chat.id == chat).values(context_window_size=None))
    large = fit(session, Reading(chat, ids[-1], 200_000))
    assert [one.message.message_id for one in large.planned if one.sent] == ids
    assert large.made == []
    assert fit(session, Reading(chat, ids[-1], 1024)).branch.walk.counting() != []


def test_a_request_that_is_tried_again_in_less_leaves_no_record(session: Session) -> None:
    chat, ids = grown(session, 12)
    context = gather_context(session, Reading(chat, ids[-1], None, scale=0.3, records=False))
    assert context.left_out > 0
    assert session.scalar(sa.select(sa.func.count()).select_from(ContextOptimization)) == 0


def summarized(session: Session, reading: Reading, words: str) -> ContextOptimization:
    wanted = find_to_summarize(session, reading, is_wanted=True)
    made = try_summary(session, wanted, words) if wanted is not None else None
    assert made is not None
    return session.get_one(ContextOptimization, record(session, reading, made))


def test_a_summary_that_is_changed_undone_or_stale_is_so_wherever_it_is_told(session: Session) -> None:
    """S001-082 S001-084: what is left out after it refers to it, and copies nothing."""
    chat, ids = grown(session, 50, words=20)
    summary = summarized(session, Reading(chat, ids[8], None), "WRONG FACT.")
    reading = Reading(chat, ids[-1], None)
    for made in fit(session, reading).made:
        record(session, reading, made)
    branch = fit(session, reading).branch
    assert branch.walk.stop is not None
    assert (branch.walk.stop.kind, branch.walk.summary) == (OptimizationType.TRUNCATION, "WRONG FACT.")
    assert [one.id for one in branch.walk.counting()] == [branch.walk.stop.id, summary.id]
    summary.summary = "RIGHT FACT."
    session.flush()
    assert "RIGHT FACT." in fit(session, reading).branch.messages[0].content
    summary.stale_at = clock.now()
    session.flush()
    assert fit(session, reading).branch.walk.summary is None
    again = find_to_summarize(session, reading)  # it is due, although what is left out ends the walk before it
    assert again is not None
    assert set(again.replaces) == {summary.id, branch.walk.stop.id}
    summary.stale_at, summary.undone_at = None, clock.now()
    session.flush()
    assert fit(session, reading).branch.walk.summary is None


def test_a_summary_says_how_many_messages_it_tells_nothing_of(session: Session) -> None:
    chat, ids = grown(session, 120, words=20)
    row = summarized(session, Reading(chat, ids[-1], None), "They said words.")
    assert row.note is not None
    untold = int(row.note.split()[0])
    assert ids[untold] == row.oldest_told_id
    plan = plan_next(session, Reading(chat, ids[-1], None), factor=1.0)
    whys = {one.message.message_id: one.why for one in plan.planned if one.message.message_id}
    assert {why for one, why in whys.items() if why in ("summarized", "truncated") and one >= row.oldest_told_id} == {
        "summarized"
    }


@pytest.mark.parametrize(
    ("is_told_of", "is_on_another_branch", "rule", "becomes_stale"),
    [
        (True, False, ContextRule.LEFT_OUT, True),
        (True, False, ContextRule.PINNED, False),  # it goes whole besides
        (True, False, ContextRule.AUTO, False),  # as it was
        (False, False, ContextRule.LEFT_OUT, False),
        (True, True, ContextRule.LEFT_OUT, False),
    ],
)
def test_a_summary_is_stale_by_what_it_tells_of_alone(
    session: Session, is_told_of: bool, is_on_another_branch: bool, rule: ContextRule, becomes_stale: bool
) -> None:
    chat, ids = grown(session, 12, words=20)
    owner = owner_of(session, chat)
    row = summarized(session, Reading(chat, ids[-1], None), "They said words.")
    chosen = ids[1] if is_told_of else ids[-2]
    if is_on_another_branch:
        chosen = add_message(session, ChatId(chat), "Another", owner=owner, after=ids[0])
    session.flush()
    set_context_rule(session, chosen, rule, actor=owner)
    session.refresh(row)
    assert (row.stale_at is not None) == becomes_stale


def test_a_stale_summary_that_nothing_is_due_for_is_found_to_be_undone(session: Session) -> None:
    """Behind what was left out since, it would keep from being sent what has room now."""
    chat, ids = grown(session, 50, words=20)
    summary = summarized(session, Reading(chat, ids[8], None), "Words.")
    reading = Reading(chat, ids[-1], None)
    for made in fit(session, reading).made:
        record(session, reading, made)
    summary.stale_at = clock.now()
    session.execute(sa.update(Message).where(Message.id.in_(ids[:40])).values(context_rule=ContextRule.LEFT_OUT))
    session.flush()
    assert find_to_summarize(session, reading) is None
    stale = find_stale(session, reading)
    assert summary.id in stale
    session.execute(
        sa.update(ContextOptimization).where(ContextOptimization.id.in_(stale)).values(undone_at=clock.now())
    )
    assert {one.message_id for one in fit(session, reading).branch.messages} >= set(ids[40:])


def test_a_branch_whose_end_is_gone_has_nothing(session: Session) -> None:
    chat, _ = grown(session, 2)
    assert read_back(session, new_id(), 1000, Walk([])) == ([], None)
    assert gather_context(session, Reading(chat, new_id(), None)).messages == []


def test_a_change_finds_its_summaries_by_one_walk_for_each_branch(session: Session) -> None:
    """On a database that nobody analysed, as most are; a step for each message of the chat would take minutes here."""
    chat, ids = grown(session, 400, words=2)
    other = add_message(session, ChatId(chat), "Another", owner=owner_of(session, chat), after=ids[5])
    rows = [summarized(session, Reading(chat, ids[at], 10_000), "Words.") for at in (40, 80, 399)]
    statements: list[str] = []
    count = lambda *arguments: statements.append(arguments[2])  # noqa: E731
    bind = session.get_bind()
    sa.event.listen(bind, "before_cursor_execute", count)
    mark_stale(session, chat, ids[3])
    sa.event.remove(bind, "before_cursor_execute", count)
    session.flush()
    for row in rows:
        session.refresh(row)
        assert row.stale_at is not None
        row.stale_at = None
    assert sum("walk" in one for one in statements) <= 1
    mark_stale(session, chat, other)
    for row in rows:
        session.refresh(row)
        assert row.stale_at is None


def owner_of(session: Session, chat: str) -> Actor:
    return Actor(UserId(session.scalars(sa.select(Chat.user_id).where(Chat.id == chat)).one()), UserRole.USER)


def test_what_a_person_left_out_stays_out_when_the_question_is_answered_anew(session: Session) -> None:
    chat, ids = grown(session, 9, words=10)
    reading = Reading(chat, ids[-1], 8192)
    made = shorten_now(session, reading, OptimizationType.TRUNCATION)
    assert made is not None
    record(session, reading, made)
    left = fit(session, reading).branch.messages
    anew = fit(session, Reading(chat, ids[-2], 8192)).branch.messages  # another answer to the question before
    assert [one.message_id for one in anew] == [one.message_id for one in left][:-1]


def test_code_is_sent_word_for_word(session: Session) -> None:
    code = "```py\nx = 1   \n\n\nrow = []\nrow = []\nrow = []\n```"
    assert shorten_text(f"a\n\n\nb\n{code}", set()) == f"a\n\nb\n{code}"
