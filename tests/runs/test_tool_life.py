"""Test the life cycle of tool calls under random orders of events, on both databases."""

from collections import Counter
from datetime import timedelta
from decimal import Decimal
from typing import Any

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
from tertulia.billing.models import UsageLog
from tertulia.billing.tool_ledger import spent_on_tools
from tertulia.chat.models import Chat
from tertulia.ids import RunId, ToolExecutionId, new_id
from tertulia.providers.protocol import ToolCall
from tertulia.runs.calls.approvals import approve, cancel, deny, expire_approvals
from tertulia.runs.calls.life import CallOutcome, finish_execution, mark_outcomes_unknown, start_execution
from tertulia.runs.calls.proposing import ProposedCall, record_calls
from tertulia.runs.lease import RunRef
from tertulia.runs.models import Run, RunStatus
from tertulia.runs.service import request_cancel
from tertulia.tools.errors import AlreadyDecided
from tertulia.tools.models import OPEN, ToolExecution, ToolStatus
from tertulia.tools.protocol import OfferedTool
from tertulia.tools.results import as_cost
from tertulia.tools.rules import HOUR, put_auto_approval
from tertulia.tools.schemas import Approve, AutoApprovalUpdate, Deny
from tertulia.tools.tool_set import ToolSet
from tests.factories.accounts import make_user
from tests.factories.chats import add_message, make_chat
from tests.fakes.tools import Recorder

LIMIT = Decimal("0.50")
COSTS = ("0", "0.10", "0.20", "0.30")
ENDED = tuple(status for status in ToolStatus if status not in OPEN)
# The allowed next statuses. An ended call keeps its status.
NEXT = {
    "pending": {"approved", "denied", "cancelled", "timeout"},
    "approved": {"executing", "cancelled", "failed"},
    "executing": {"completed", "failed", "timeout", "cancelled"},
}


class Life(RuleBasedStateMachine):
    """Random decisions, executions, process deaths, expiries and cancellations, under an hourly cost limit."""

    session: Session

    @initialize()
    def begin(self) -> None:
        session = self.session
        self.alice = make_user(session, username=new_id())
        put_auto_approval(session, self.alice, AutoApprovalUpdate(max_cost_per_hour=LIMIT), lambda _session, _actor: {})
        chat_id = make_chat(session, owner=self.alice)
        question = add_message(session, chat_id, "Do it", owner=self.alice)
        reply = add_message(session, chat_id, "", owner=self.alice, is_reply=True, after=question)
        self.run_id = RunId(new_id())
        self.run_ref = RunRef(chat_id, reply, self.run_id, self.alice.user_id, self.alice.user_id)
        session.add(
            Run(
                id=self.run_id,
                chat_id=chat_id,
                message_id=reply,
                requested_by=self.alice.user_id,
                status=RunStatus.QUEUED,
                provider="p",
                model_name="m",
            )
        )
        session.flush()
        self.offered = OfferedTool(Recorder())
        self.known: dict[str, str] = {}
        self.executed: Counter[str] = Counter()

    def _statuses(self) -> dict[str, str]:
        rows = self.session.execute(
            sa.select(ToolExecution.id, ToolExecution.status).where(ToolExecution.run_id == self.run_id)
        )
        return {row[0]: row[1].value for row in rows}

    def _some(self, place: int) -> ToolExecutionId:
        return ToolExecutionId(sorted(self.known)[place % len(self.known)])

    @rule(cost=st.sampled_from(COSTS))
    def ask(self, cost: str) -> None:
        arguments: dict[str, Any] = {"cost": cost}
        call = ToolCall(new_id(), "record", "{}")
        proposed = ProposedCall(call, self.offered, arguments, estimated=self.offered.tool.estimate_cost(arguments))
        record_calls(self.session, self.run_ref, 1, [proposed])
        if "pending" in self._statuses().values():  # as the process that runs it does
            self._set_run(RunStatus.AWAITING_APPROVAL)

    def _set_run(self, status: RunStatus) -> None:
        self.session.execute(sa.update(Run).where(Run.id == self.run_id).values(status=status, ended_at=None))

    @precondition(lambda self: self.known)
    @rule(place=st.integers(0, 50), edits=st.booleans())
    def one_approves(self, place: int, edits: bool) -> None:
        call_id = self._some(place)
        was = self.known[call_id]
        decision = Approve(arguments_json='{"cost": "0", "text": "edited"}' if edits else None)
        try:
            approved = approve(self.session, self.alice, call_id, decision, lambda *_: ToolSet([self.offered]))
        except AlreadyDecided:
            assert was != "pending"
            return
        assert (was, approved["status"]) == ("pending", "approved")
        assert (approved["edited_parameters"] is not None) == edits

    @precondition(lambda self: self.known)
    @rule(place=st.integers(0, 50))
    def one_denies(self, place: int) -> None:
        call_id = self._some(place)
        was = self.known[call_id]
        try:
            deny(self.session, self.alice, call_id, Deny(note="no"))
            assert was == "pending"
        except AlreadyDecided:
            assert was != "pending"

    @precondition(lambda self: self.known)
    @rule(place=st.integers(0, 50))
    def one_cancels(self, place: int) -> None:
        call_id = self._some(place)
        was = self.known[call_id]
        try:
            cancel(self.session, self.alice, call_id)
            assert was in NEXT
        except AlreadyDecided:
            assert was not in NEXT

    @precondition(lambda self: self.known)
    @rule(place=st.integers(0, 50))
    def a_process_begins(self, place: int) -> None:
        call_id = self._some(place)
        if start_execution(self.session, self.run_ref, call_id):
            assert self.known[call_id] == "approved"
            self.executed[call_id] += 1

    @precondition(lambda self: self.known)
    @rule(place=st.integers(0, 50), fails=st.booleans(), cost=st.sampled_from((None, "0", "-1", "NaN")))
    def a_process_ends(self, place: int, fails: bool, cost: str | None) -> None:
        call_id = self._some(place)
        status = ToolStatus.FAILED if fails else ToolStatus.COMPLETED
        outcome = CallOutcome(status, 5, cost=as_cost(cost))
        assert finish_execution(self.session, self.run_ref, call_id, outcome) == (self.known[call_id] == "executing")

    @rule()
    def the_process_dies(self) -> None:
        mark_outcomes_unknown(self.session, self.run_id, self.alice.user_id)

    @precondition(lambda self: self.known)
    @rule(place=st.integers(0, 50))
    def time_runs_out(self, place: int) -> None:
        past = clock.now() - timedelta(hours=25)
        self.session.execute(
            sa.update(ToolExecution)
            .where(ToolExecution.id == self._some(place), ToolExecution.status == ToolStatus.PENDING)
            .values(created_at=past, expires_at=past)
        )
        expire_approvals(self.session)

    @precondition(lambda self: len(self.known) > 3)
    @rule()
    def the_run_is_cancelled_and_continued(self) -> None:
        request_cancel(self.session, self.alice, self.run_id)
        assert not [status for status in self._statuses().values() if status in NEXT]
        self._set_run(RunStatus.QUEUED)

    @invariant()
    def each_moves_only_where_it_may(self) -> None:
        if not hasattr(self, "known"):
            return
        now = self._statuses()
        for call_id, status in now.items():
            before = self.known.get(call_id)
            if before is not None and before != status:
                reachable = NEXT.get(before, set()) | {
                    second for first in NEXT.get(before, set()) for second in NEXT.get(first, ())
                }
                assert status in reachable, (before, status)
        self.known = now

    @invariant()
    def nothing_runs_twice_or_over_the_limit(self) -> None:
        if not hasattr(self, "known"):
            return
        assert all(times == 1 for times in self.executed.values())
        spent = spent_on_tools(self.session, self.alice.user_id, since=clock.now() - HOUR)
        assert spent <= LIMIT, spent

    @invariant()
    def a_run_waits_exactly_while_something_is_to_be_decided(self) -> None:
        if not hasattr(self, "known"):
            return
        run = self.session.get_one(Run, self.run_id, populate_existing=True)
        assert (run.status is RunStatus.AWAITING_APPROVAL) == ("pending" in self._statuses().values())

    @invariant()
    def the_books_agree(self) -> None:
        if not hasattr(self, "known"):
            return
        total = self.session.scalars(sa.select(Chat.total_cost).where(Chat.id == self.run_ref.chat_id)).one()
        entered = self.session.scalar(
            sa.select(sa.type_coerce(sa.func.coalesce(sa.func.sum(UsageLog.cost), 0), UsageLog.cost.type)).where(
                UsageLog.chat_id == self.run_ref.chat_id
            )
        )
        assert total == entered


def test_no_order_of_events_runs_a_call_twice_or_exceeds_the_cost_limit(session: Session) -> None:
    class Here(Life):
        pass

    Here.session = session
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
