"""Test random growth, changes and compaction of a chat: requests fit, nothing is recorded twice, reverting restores."""

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.chat.models import Chat, ChatSettings, ContextRule, Message, OptimizationType
from tertulia.context.branch import PromptSource, plan, read_branch
from tertulia.context.compaction.records import mark_superseded
from tertulia.context.compaction.summaries import find_to_summarize, try_summary
from tertulia.context.models import ContextOptimization
from tertulia.context.service import fit, plan_requested_compaction, record
from tertulia.context.window import plan_context
from tertulia.ids import MessageId
from tests.factories.accounts import make_user
from tests.factories.chats import add_message, make_chat

PINNED_AT_MOST = 3


class Shortened(RuleBasedStateMachine):
    session: Session

    @initialize(kind=st.sampled_from([None, *OptimizationType]), at=st.sampled_from([None, 0.5]))
    def begin(self, kind: OptimizationType | None, at: float | None) -> None:
        self.owner = make_user(self.session)
        self.chat = make_chat(self.session, owner=self.owner)
        chosen = ChatSettings(max_tokens=128, when_full=kind, compact_at=at)
        self.session.execute(
            sa.update(Chat).where(Chat.id == self.chat).values(context_window_size=512, settings=chosen)
        )
        self.branches: list[list[MessageId]] = [[]]
        self.pinned: set[str] = set()

    @property
    def branch(self) -> list[MessageId]:
        return self.branches[-1]

    @property
    def source(self) -> PromptSource:
        return PromptSource(self.chat, self.branch[-1], None)

    @rule(words=st.integers(1, 120), is_same=st.booleans())
    def say(self, words: int, is_same: bool) -> None:
        number = len(self.branch)
        text = "the same line\n" * words if is_same else f"{number} " + "word " * words
        before = self.branch[-1] if self.branch else None
        message_id = add_message(
            self.session, self.chat, text, owner=self.owner, is_reply=number % 2 == 1, after=before
        )
        self.branch.append(message_id)

    @precondition(lambda self: len(self.branch) > 2)
    @rule(place=st.integers(0, 50))
    def go_back(self, place: int) -> None:
        """Continue on another branch that shares the beginning."""
        self.branches.append(self.branch[: 1 + place % len(self.branch)])

    @precondition(lambda self: self.branch)
    @rule(place=st.integers(0, 50), to=st.sampled_from(list(ContextRule)))
    def steer(self, place: int, to: ContextRule) -> None:
        chosen = self.branch[place % len(self.branch)]
        if to is ContextRule.PINNED and len(self.pinned | {chosen}) > PINNED_AT_MOST:
            return
        self.pinned.discard(chosen)
        if to is ContextRule.PINNED:
            self.pinned.add(chosen)
        self.session.execute(sa.update(Message).where(Message.id == chosen).values(context_rule=to))
        mark_superseded(self.session, self.chat, chosen)

    @precondition(lambda self: self.branch)
    @rule(place=st.integers(0, 50))
    def change(self, place: int) -> None:
        chosen = self.branch[place % len(self.branch)]
        self.session.execute(sa.update(Message).where(Message.id == chosen).values(content="changed"))
        mark_superseded(self.session, self.chat, chosen)

    @precondition(lambda self: self.branch)
    @rule(kind=st.sampled_from([OptimizationType.TRUNCATION, OptimizationType.COMPRESSION]))
    def shorten(self, kind: OptimizationType) -> None:
        compaction = plan_requested_compaction(self.session, self.source, kind)
        if compaction is not None:
            assert compaction.tokens_after < compaction.tokens_before
            before = fit(self.session, self.source).planned
            row = self.session.get_one(ContextOptimization, record(self.session, self.source, compaction))
            row.reverted_at = clock.now()
            self.session.flush()
            assert fit(self.session, self.source).planned == before  # reverting restores the plan
            row.reverted_at = None
            self.session.flush()

    @rule(window=st.sampled_from([384, 512, 4096]))
    def change_model(self, window: int) -> None:
        """Change the window. Messages truncated for a small window are sent to a large one again."""
        self.session.execute(sa.update(Chat).where(Chat.id == self.chat).values(context_window_size=window))

    @precondition(lambda self: self.branch)
    @rule(is_wanted=st.booleans())
    def summarize(self, is_wanted: bool) -> None:
        wanted = find_to_summarize(self.session, self.source, is_wanted=is_wanted)
        summary = try_summary(self.session, wanted, "In short.") if wanted is not None else None
        if summary is not None:
            record(self.session, self.source, summary)

    @precondition(lambda self: self.branch)
    @rule()
    def undo_all(self) -> None:
        """Revert everything, and expect the plan of a branch without compactions."""
        self.session.execute(sa.update(ContextOptimization).values(reverted_at=clock.now()))
        untouched = read_branch(self.session, self.source, [])
        fitting = fit(self.session, self.source)
        if not fitting.due:
            assert fitting.planned == plan(untouched) == plan_context(untouched.messages, untouched.budget)

    @invariant()
    def what_is_sent_fits_and_a_step_records_once(self) -> None:
        if not getattr(self, "branches", None) or not self.branch:
            return
        fitting = fit(self.session, self.source)
        sent = [item.sent for item in fitting.planned if item.sent is not None]
        assert sum(message.tokens for message in sent) <= fitting.branch.budget
        ids = {message.message_id for message in sent}
        assert self.branch[-1] in ids
        assert {key for key in self.branch if key in self.pinned} <= ids
        for compaction in fitting.due:
            record(self.session, self.source, compaction)
        again = fit(self.session, self.source)
        assert again.planned == fitting.planned
        assert again.due == []


def test_random_compactions_always_fit_and_revert_exactly(session: Session) -> None:
    class Here(Shortened):
        pass

    Here.session = session
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_a_truncation_that_ends_a_compression_leaves_only_what_fits(session: Session) -> None:
    """Repeat what the random test found: without its compression, a pinned message took the room of a later one."""

    class Here(Shortened):
        pass

    Here.session = session
    chat = Here()
    chat.begin(kind=None, at=None)
    for words in (100, 103, 120):
        chat.say(is_same=True, words=words)
        chat.what_is_sent_fits_and_a_step_records_once()
    chat.steer(place=0, to=ContextRule.PINNED)
    chat.shorten(kind=OptimizationType.COMPRESSION)
    chat.say(is_same=False, words=1)
    chat.what_is_sent_fits_and_a_step_records_once()
    chat.say(is_same=False, words=1)
    chat.what_is_sent_fits_and_a_step_records_once()
    chat.teardown()
