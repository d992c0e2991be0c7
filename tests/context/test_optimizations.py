"""Tests for compaction: truncation, summaries and compression are recorded, can be reverted, and always fit."""

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
from tertulia.chat.models import Chat, ChatSettings, ContextRule, Message, OptimizationType
from tertulia.context.branch import PromptSource, plan, read_back, read_branch
from tertulia.context.compaction.compression import compress, shorten_text
from tertulia.context.compaction.plan import BranchScan, find_boundary, load_active
from tertulia.context.compaction.records import mark_superseded
from tertulia.context.compaction.summaries import find_stale, find_to_summarize, try_summary, try_without
from tertulia.context.messages import ContextMessage
from tertulia.context.models import ContextOptimization
from tertulia.context.service import fit, gather_context, plan_next, plan_requested_compaction, record
from tertulia.ids import ChatId, MessageId, UserId, new_id
from tests.factories.accounts import make_user
from tests.factories.chats import add_message, make_chat

# ---- compression


def test_compression_replaces_repeated_text() -> None:
    code = "def area(width, height):\n    return width * height\n" * 2
    first = ContextMessage("assistant", f"Here:\n```python\n{code}```\nThat is it.", "1")
    again = ContextMessage("user", f"Why does\n```python\n{code}```\nfail?", "2")
    noise = ContextMessage("assistant", "start\n" + "retrying …\n" * 400 + "end", "3")
    data = ContextMessage("user", f"![x](data:image/png;base64,{'QUJD' * 200})", "4")
    short = ContextMessage("user", "ok", "5")
    compressed = compress([first, again, noise, data, short])
    assert code.strip() in compressed[0].content
    assert compressed[1].content == "Why does\n[the same code as above, which begins: def area(width, height):]\nfail?"
    assert compressed[2].content == "start\nretrying …\n[the line above 400 times in all]\nend"
    assert compressed[3].content == "![x](data:image/png;base64,[800 characters of data])"
    assert compressed[4] is short


@given(st.lists(st.text("ab \n`x", max_size=80), max_size=6))
def test_compression_never_adds_tokens_or_drops_messages(texts: list[str]) -> None:
    messages = [ContextMessage("user", text, str(number)) for number, text in enumerate(texts)]
    compressed = compress(messages)
    assert [message.message_id for message in compressed] == [message.message_id for message in messages]
    assert all(after.tokens <= before.tokens for after, before in zip(compressed, messages, strict=True))


def test_a_line_is_compressed_from_three_repetitions_on() -> None:
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
def test_compression_takes_linear_time(text: str) -> None:
    """Take linear time: a quadratic algorithm would need minutes for each text."""
    assert len(shorten_text(text, set())) <= len(text)


def test_a_repeated_code_block_is_replaced_and_an_unclosed_one_is_kept() -> None:
    code = "print('a long line of code that says something')\nprint('and another one, which says something else')\n"
    never_ends = f"```\n{code}"
    assert shorten_text(never_ends, set()) == never_ends
    seen: set[str] = set()
    shorten_text(f"```\n{code}```", seen)
    assert shorten_text(f"```py\n{code}```\nafter", seen).endswith(
        "which begins: print('a long line of code that says something')]\nafter"
    )


# ---- truncation and active compactions of a branch

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
def test_truncation_keeps_the_question_and_pinned_messages(rows: list[tuple[Any, int, Any]], budget: int) -> None:
    messages = [
        ContextMessage(role, "x" * length, str(number), rule=rule) for number, (role, length, rule) in enumerate(rows)
    ]
    boundary = find_boundary(messages, budget)
    questions = [place for place, message in enumerate(messages) if message.role == "user"]
    last = questions[-1] if questions else len(messages) - 1
    if boundary is None:
        return
    assert int(boundary) < last
    kept = [message for place, message in enumerate(messages) if place > int(boundary) or message.rule == "pinned"]
    optional = [
        message for place, message in enumerate(messages) if int(boundary) < place < last and message.rule == "auto"
    ]
    must = sum(message.tokens for message in kept if message.rule != "left_out" and message not in optional)
    assert must + sum(message.tokens for message in optional) <= budget or not optional


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


def test_truncation_frees_extra_room_and_can_be_reverted(session: Session) -> None:
    """Check facts S001-081 and S001-084."""
    chat, ids = grown(session, 21)
    source = PromptSource(chat, ids[-1], None)
    first = gather_context(session, source)
    (row,) = session.scalars(sa.select(ContextOptimization))
    assert (row.optimization_type, row.trigger_reason) == (OptimizationType.TRUNCATION, "token_limit")
    assert row.tokens_after < row.tokens_before
    assert sum(message.tokens for message in first.messages) <= row.tokens_after <= 0.75 * 896
    kept = [message.message_id for message in first.messages]
    assert kept == ids[-len(kept) :]
    assert row.boundary_message_id == ids[-len(kept) - 1]
    assert set(row.affected_messages).isdisjoint(kept)
    assert gather_context(session, source).messages == first.messages  # a repeat records nothing
    assert session.scalar(sa.select(sa.func.count()).select_from(ContextOptimization)) == 1
    # The truncation does not apply to a branch that ends before its question.
    other = gather_context(session, PromptSource(chat, ids[8], None))
    assert [message.message_id for message in other.messages] == ids[:9]
    before = plan(read_branch(session, source, []))
    row.reverted_at = clock.now()
    session.flush()
    assert plan(read_branch(session, source, load_active(session, chat))) == before


def test_pinned_messages_stay_and_the_scan_stops_at_the_truncation(session: Session) -> None:
    chat, ids = grown(session, 31)
    session.execute(sa.update(Message).where(Message.id == ids[1]).values(context_rule=ContextRule.PINNED))
    source = PromptSource(chat, ids[-1], None)
    gather_context(session, source)
    context = gather_context(session, source)
    assert context.messages[0].message_id == ids[1]
    scan = BranchScan(load_active(session, chat))
    assert not scan.meet(ids[-1])
    stop = scan.active[0].boundary
    assert scan.meet(stop)


@pytest.mark.parametrize("kind", list(OptimizationType))
def test_every_compaction_fits_and_reverts_to_the_same_plan(session: Session, kind: OptimizationType) -> None:
    """Check facts S001-074, S001-075, S001-082 and S001-083."""
    chat, ids = grown(session, 12, words=20)
    repeated = "line\n" * 60
    session.execute(sa.update(Message).where(Message.id == ids[2]).values(content=repeated))
    session.flush()
    source = PromptSource(chat, ids[-1], None)
    before = fit(session, source)
    if kind is OptimizationType.SUMMARIZATION:
        wanted = find_to_summarize(session, source, is_wanted=True)
        assert wanted is not None
        assert wanted.affected[0].message_id == ids[0]
        assert try_summary(session, wanted, "word " * 5000) is None  # longer than the messages it summarizes
        compaction = try_summary(session, wanted, "They said words.")
    else:
        compaction = plan_requested_compaction(session, source, kind)
    assert compaction is not None
    assert compaction.tokens_after < compaction.tokens_before
    row_id = record(session, source, compaction)
    after = fit(session, source)
    assert sum(item.sent.tokens for item in after.planned if item.sent) <= after.branch.budget
    if kind is OptimizationType.SUMMARIZATION:
        assert "They said words." in after.branch.messages[0].content
    if kind is OptimizationType.COMPRESSION:
        (shorter,) = [item for item in after.planned if item.reason == "compressed"]
        assert shorter.sent is not None
        assert (shorter.message.content, shorter.sent.content) == (repeated, "line\n[the line above 60 times in all]\n")
    session.get_one(ContextOptimization, row_id).reverted_at = clock.now()
    session.flush()
    assert fit(session, source).planned == before.planned


def test_a_failed_summary_keeps_the_earlier_summary(session: Session) -> None:
    chat, ids = grown(session, 12, words=20)
    source = PromptSource(chat, ids[8], None)
    wanted = find_to_summarize(session, source, is_wanted=True)
    summary = try_summary(session, wanted, "FACT.") if wanted is not None else None
    assert summary is not None
    record(session, source, summary)
    source = PromptSource(chat, ids[-1], None)
    wanted = find_to_summarize(session, source, is_wanted=True)
    assert wanted is not None
    assert wanted.earlier is not None
    assert wanted.earlier.summary == "FACT."
    truncation = try_without(session, wanted)
    assert truncation is not None
    record(session, source, truncation)
    fitting = fit(session, source)
    assert (fitting.branch.scan.stop is not None, fitting.branch.scan.summary) == (True, "FACT.")
    # The earlier summary changed while the model wrote, so the new one is rejected.
    session.execute(sa.update(ContextOptimization).values(summary="Changed."))
    assert try_summary(session, wanted, "New.") is None


def test_each_step_reads_little_however_long_the_chat_is(session: Session) -> None:
    """Check that every step fits the window, and that compactions are far fewer than messages."""
    chat, ids = grown(session, 300, words=30)
    read: list[int] = []
    for leaf in ids[20::2]:
        source = PromptSource(chat, leaf, None)
        fitting = fit(session, source)
        for compaction in fitting.due:
            record(session, source, compaction)
        assert sum(item.sent.tokens for item in fitting.planned if item.sent) <= fitting.branch.budget
        read.append(len(fitting.branch.messages))
    assert max(read[-20:]) <= max(read[:20])
    assert (session.scalar(sa.select(sa.func.count()).select_from(ContextOptimization)) or 0) < len(ids) / 4


def test_messages_truncated_for_a_small_window_are_sent_to_a_large_one(session: Session) -> None:
    """Check S001-084: the record stays, and applies again when the window is small."""
    chat, ids = grown(session, 21)
    small = fit(session, PromptSource(chat, ids[-1], None))
    for compaction in small.due:
        record(session, PromptSource(chat, ids[-1], None), compaction)
    session.execute(sa.update(Chat).where(Chat.id == chat).values(context_window_size=None))
    large = fit(session, PromptSource(chat, ids[-1], 200_000))
    assert [item.message.message_id for item in large.planned if item.sent] == ids
    assert large.due == []
    assert fit(session, PromptSource(chat, ids[-1], 1024)).branch.scan.applied() != []


def test_a_retry_with_a_smaller_context_records_nothing(session: Session) -> None:
    chat, ids = grown(session, 12)
    context = gather_context(session, PromptSource(chat, ids[-1], None, scale=0.3, records=False))
    assert context.left_out > 0
    assert session.scalar(sa.select(sa.func.count()).select_from(ContextOptimization)) == 0


def summarized(session: Session, source: PromptSource, text: str) -> ContextOptimization:
    wanted = find_to_summarize(session, source, is_wanted=True)
    summary = try_summary(session, wanted, text) if wanted is not None else None
    assert summary is not None
    return session.get_one(ContextOptimization, record(session, source, summary))


def test_a_later_truncation_follows_changes_to_its_summary(session: Session) -> None:
    """Check S001-082 and S001-084: a later truncation refers to the summary and does not copy it."""
    chat, ids = grown(session, 50, words=20)
    summary = summarized(session, PromptSource(chat, ids[8], None), "WRONG FACT.")
    source = PromptSource(chat, ids[-1], None)
    for compaction in fit(session, source).due:
        record(session, source, compaction)
    branch = fit(session, source).branch
    assert branch.scan.stop is not None
    assert (branch.scan.stop.kind, branch.scan.summary) == (OptimizationType.TRUNCATION, "WRONG FACT.")
    assert [row.id for row in branch.scan.applied()] == [branch.scan.stop.id, summary.id]
    summary.summary = "RIGHT FACT."
    session.flush()
    assert "RIGHT FACT." in fit(session, source).branch.messages[0].content
    summary.superseded_at = clock.now()
    session.flush()
    assert fit(session, source).branch.scan.summary is None
    again = find_to_summarize(session, source)  # due, although the truncation stops the scan before it
    assert again is not None
    assert set(again.replaces) == {summary.id, branch.scan.stop.id}
    summary.superseded_at, summary.reverted_at = None, clock.now()
    session.flush()
    assert fit(session, source).branch.scan.summary is None


def test_a_summary_notes_how_many_messages_it_omits(session: Session) -> None:
    chat, ids = grown(session, 120, words=20)
    row = summarized(session, PromptSource(chat, ids[-1], None), "They said words.")
    assert row.note is not None
    omitted = int(row.note.split()[0])
    assert ids[omitted] == row.oldest_covered_id
    plan = plan_next(session, PromptSource(chat, ids[-1], None), factor=1.0)
    reasons = {item.message.message_id: item.reason for item in plan.planned if item.message.message_id}
    assert {
        reason
        for key, reason in reasons.items()
        if reason in ("summarized", "truncated") and key >= row.oldest_covered_id
    } == {"summarized"}


@pytest.mark.parametrize(
    ("is_summarized", "is_on_another_branch", "rule", "becomes_superseded"),
    [
        (True, False, ContextRule.LEFT_OUT, True),
        (True, False, ContextRule.PINNED, False),  # it is also sent in full
        (True, False, ContextRule.AUTO, False),  # unchanged
        (False, False, ContextRule.LEFT_OUT, False),
        (True, True, ContextRule.LEFT_OUT, False),
    ],
)
def test_leaving_out_a_message_supersedes_only_summaries_of_it(
    session: Session, is_summarized: bool, is_on_another_branch: bool, rule: ContextRule, becomes_superseded: bool
) -> None:
    chat, ids = grown(session, 12, words=20)
    owner = owner_of(session, chat)
    row = summarized(session, PromptSource(chat, ids[-1], None), "They said words.")
    chosen = ids[1] if is_summarized else ids[-2]
    if is_on_another_branch:
        chosen = add_message(session, ChatId(chat), "Another", owner=owner, after=ids[0])
    session.flush()
    set_context_rule(session, owner, chosen, rule)
    session.refresh(row)
    assert (row.superseded_at is not None) == becomes_superseded


def test_a_superseded_summary_that_is_not_replaced_is_found(session: Session) -> None:
    """Prevent a superseded summary behind a later truncation from holding back messages that now fit."""
    chat, ids = grown(session, 50, words=20)
    summary = summarized(session, PromptSource(chat, ids[8], None), "Words.")
    source = PromptSource(chat, ids[-1], None)
    for compaction in fit(session, source).due:
        record(session, source, compaction)
    summary.superseded_at = clock.now()
    session.execute(sa.update(Message).where(Message.id.in_(ids[:40])).values(context_rule=ContextRule.LEFT_OUT))
    session.flush()
    assert find_to_summarize(session, source) is None
    superseded_ids = find_stale(session, source)
    assert summary.id in superseded_ids
    session.execute(
        sa.update(ContextOptimization).where(ContextOptimization.id.in_(superseded_ids)).values(reverted_at=clock.now())
    )
    assert {message.message_id for message in fit(session, source).branch.messages} >= set(ids[40:])


def test_a_missing_leaf_gives_an_empty_branch(session: Session) -> None:
    chat, _ = grown(session, 2)
    assert read_back(session, new_id(), 1000, BranchScan([])) == ([], None)
    assert gather_context(session, PromptSource(chat, new_id(), None)).messages == []


def test_a_change_finds_its_summaries_in_one_scan_per_branch(session: Session) -> None:
    """Run on a database without statistics, as most are: a scan per message of the chat would take minutes."""
    chat, ids = grown(session, 400, words=2)
    other = add_message(session, ChatId(chat), "Another", owner=owner_of(session, chat), after=ids[5])
    rows = [summarized(session, PromptSource(chat, ids[at], 10_000), "Words.") for at in (40, 80, 399)]
    statements: list[str] = []
    count = lambda *arguments: statements.append(arguments[2])  # noqa: E731
    bind = session.get_bind()
    sa.event.listen(bind, "before_cursor_execute", count)
    mark_superseded(session, chat, ids[3])
    sa.event.remove(bind, "before_cursor_execute", count)
    session.flush()
    for row in rows:
        session.refresh(row)
        assert row.superseded_at is not None
        row.superseded_at = None
    assert sum("walk" in statement for statement in statements) <= 1
    mark_superseded(session, chat, other)
    for row in rows:
        session.refresh(row)
        assert row.superseded_at is None


def owner_of(session: Session, chat: str) -> Actor:
    return Actor(UserId(session.scalars(sa.select(Chat.user_id).where(Chat.id == chat)).one()), UserRole.USER)


def test_a_requested_truncation_applies_to_an_earlier_leaf(session: Session) -> None:
    chat, ids = grown(session, 9, words=10)
    source = PromptSource(chat, ids[-1], 8192)
    truncation = plan_requested_compaction(session, source, OptimizationType.TRUNCATION)
    assert truncation is not None
    record(session, source, truncation)
    left = fit(session, source).branch.messages
    earlier = fit(
        session, PromptSource(chat, ids[-2], 8192)
    ).branch.messages  # a leaf before the one it was requested for
    assert [message.message_id for message in earlier] == [message.message_id for message in left][:-1]


def test_compression_keeps_code_blocks_unchanged(session: Session) -> None:
    code = "```py\nx = 1   \n\n\nrow = []\nrow = []\nrow = []\n```"
    assert shorten_text(f"a\n\n\nb\n{code}", set()) == f"a\n\nb\n{code}"
