"""Test each change of a call's status alone: from which statuses, for which run, until when, and what is paid."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User, UserStatus
from tertulia.billing.models import UsageLog, UsageStatus
from tertulia.runs.calls.life import (
    APPROVAL_VALID_FOR,
    CallOutcome,
    cancel_call,
    close_calls,
    count_calls,
    decide_pending,
    expire,
    fail_approved,
    finish_execution,
    has_pending,
    last_call,
    list_approved,
    mark_outcome_unknown,
    mark_outcomes_unknown,
    start_execution,
)
from tertulia.runs.lease import RunRef
from tertulia.runs.models import Run
from tertulia.tools.models import OPEN, ToolExecution, ToolStatus
from tests.factories.tool_calls import make_run, propose

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
TICK = timedelta(microseconds=1)
DONE = CallOutcome(ToolStatus.COMPLETED, 5)
APPROVED: dict[str, Any] = {"status": ToolStatus.APPROVED, "approved_at": NOW}


@pytest.fixture(autouse=True)
def stopped_clock() -> Iterator[None]:
    with clock.frozen(NOW):
        yield


def read(session: Session, call_id: str) -> ToolExecution:
    return session.get_one(ToolExecution, call_id, populate_existing=True)


def status_of(session: Session, call_id: str) -> ToolStatus:
    return read(session, call_id).status


# What changes a call, from which statuses, and to which.
Change = Callable[[Session, RunRef, str], object]
CHANGES: dict[str, tuple[Change, set[ToolStatus], ToolStatus]] = {
    "start": (
        lambda session, run, call: start_execution(session, run, call),
        {ToolStatus.APPROVED},
        ToolStatus.EXECUTING,
    ),
    "finish": (
        lambda session, run, call: finish_execution(session, run, call, DONE),
        {ToolStatus.EXECUTING},
        ToolStatus.COMPLETED,
    ),
    "fail": (
        lambda session, run, call: fail_approved(session, run, call, "tool_gone", "It is gone."),
        {ToolStatus.APPROVED},
        ToolStatus.FAILED,
    ),
    "cancel": (
        lambda session, run, call: cancel_call(session, call, run.owner_id),
        set(OPEN),
        ToolStatus.CANCELLED,
    ),
    "lose": (
        lambda session, run, call: mark_outcome_unknown(session, call, run.owner_id),
        {ToolStatus.EXECUTING},
        ToolStatus.FAILED,
    ),
    "decide": (
        lambda session, _run, call: decide_pending(session, call, NOW, status=ToolStatus.APPROVED),
        {ToolStatus.PENDING},
        ToolStatus.APPROVED,
    ),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("before", list(ToolStatus))
def test_a_call_changes_only_from_the_statuses_named(
    session: Session, alice: Actor, name: str, before: ToolStatus
) -> None:
    change, sources, after = CHANGES[name]
    run = make_run(session, alice)
    call = propose(session, run, status=before, approved_at=NOW, expires_at=NOW + TICK)
    other = propose(session, run, status=before, approved_at=NOW, expires_at=NOW + TICK)
    assert bool(change(session, run, call)) is (before in sources)
    assert status_of(session, call) is (after if before in sources else before)
    assert status_of(session, other) is before


def test_the_calls_of_a_run_are_counted_and_listed_alone(session: Session, alice: Actor) -> None:
    run, other = make_run(session, alice), make_run(session, alice)
    assert (count_calls(session, run.run_id), last_call(session, run.run_id)) == (0, None)
    first = propose(session, run, **APPROVED, edited_parameters={"text": "b"})
    second = propose(session, run, status=ToolStatus.COMPLETED)
    third = propose(session, other, **APPROVED)
    assert (count_calls(session, run.run_id), last_call(session, run.run_id)) == (2, second)
    assert [(ready.id, ready.arguments) for ready in list_approved(session, run.run_id)] == [(first, {"text": "b"})]
    assert [ready.id for ready in list_approved(session, other.run_id)] == [third]
    assert not has_pending(session, run.run_id)
    propose(session, other)
    assert (has_pending(session, run.run_id), has_pending(session, other.run_id)) == (False, True)


@pytest.mark.parametrize(("was_cancelled", "code"), [(True, "cancelled"), (False, "outcome_unknown")])
def test_an_ended_run_closes_its_open_calls_alone(
    session: Session, alice: Actor, was_cancelled: bool, code: str
) -> None:
    run, other = make_run(session, alice), make_run(session, alice)
    statuses = (ToolStatus.PENDING, ToolStatus.APPROVED, ToolStatus.EXECUTING, ToolStatus.COMPLETED)
    calls = [propose(session, run, status=status) for status in statuses]
    others = [propose(session, other, status=status) for status in statuses]
    close_calls(session, run.run_id, alice.user_id, was_cancelled=was_cancelled)
    assert [read(session, call).error_code for call in calls] == ["cancelled", "cancelled", code, None]
    assert [status_of(session, call) for call in others] == list(statuses)


def test_a_dead_process_leaves_what_it_executed_as_unknown(session: Session, alice: Actor) -> None:
    run, other = make_run(session, alice), make_run(session, alice)
    statuses = (ToolStatus.APPROVED, ToolStatus.EXECUTING)
    calls = [propose(session, each, status=status) for each in (run, other) for status in statuses]
    mark_outcomes_unknown(session, run.run_id, alice.user_id)
    assert [status_of(session, call) for call in calls] == [
        ToolStatus.APPROVED,
        ToolStatus.FAILED,
        ToolStatus.APPROVED,
        ToolStatus.EXECUTING,
    ]


@pytest.mark.parametrize(("age", "is_fresh"), [(APPROVAL_VALID_FOR - TICK, True), (APPROVAL_VALID_FOR, False)])
def test_an_approval_is_valid_for_a_day(session: Session, alice: Actor, age: timedelta, is_fresh: bool) -> None:
    run = make_run(session, alice)
    call = propose(session, run, status=ToolStatus.APPROVED, approved_at=NOW - age)
    assert start_execution(session, run, call) is is_fresh
    row = read(session, call)
    assert (row.status, row.error_code) == (
        (ToolStatus.EXECUTING, None) if is_fresh else (ToolStatus.TIMEOUT, "approval_expired")
    )


@pytest.mark.parametrize(("left", "is_open"), [(TICK, True), (timedelta(0), False)])
def test_a_request_for_approval_expires(session: Session, alice: Actor, left: timedelta, is_open: bool) -> None:
    run = make_run(session, alice)
    call, twin = (propose(session, run, expires_at=NOW + left) for _ in range(2))
    assert expire(session, call, NOW) is not is_open
    assert status_of(session, call) is (ToolStatus.PENDING if is_open else ToolStatus.TIMEOUT)
    assert decide_pending(session, twin, NOW, status=ToolStatus.APPROVED) is is_open


def test_a_call_of_an_inactive_user_is_cancelled(session: Session, alice: Actor, bob: Actor) -> None:
    run, of_bob = make_run(session, alice), make_run(session, bob)
    calls = propose(session, run, **APPROVED), propose(session, of_bob, **APPROVED)
    session.execute(sa.update(User).where(User.id == bob.user_id).values(status=UserStatus.INACTIVE))
    assert start_execution(session, run, calls[0])
    assert not start_execution(session, of_bob, calls[1])
    assert status_of(session, calls[1]) is ToolStatus.CANCELLED


def test_a_run_that_is_being_cancelled_starts_no_call(session: Session, alice: Actor) -> None:
    run, other = make_run(session, alice), make_run(session, alice)
    calls = propose(session, run, **APPROVED), propose(session, other, **APPROVED)
    session.execute(sa.update(Run).where(Run.id == other.run_id).values(cancel_requested_at=NOW))
    assert start_execution(session, run, calls[0])
    assert not start_execution(session, other, calls[1])
    assert status_of(session, calls[1]) is ToolStatus.APPROVED  # the end of the run closes it


@pytest.mark.parametrize(
    ("outcome", "cost"),
    [
        (DONE, "0.25"),  # as estimated
        (CallOutcome(ToolStatus.COMPLETED, 5, cost=Decimal("0.10")), "0.10"),
        (CallOutcome(ToolStatus.COMPLETED, 5, cost=Decimal(0)), "0"),
        (CallOutcome(ToolStatus.FAILED, 5, cost=Decimal("0.10"), is_cost_invalid=True), "1.00"),
    ],
)
def test_a_call_is_paid_once_with_its_cost(session: Session, alice: Actor, outcome: CallOutcome, cost: str) -> None:
    run = make_run(session, alice)
    call = propose(session, run, **APPROVED, estimated_cost=Decimal("0.25"))
    assert start_execution(session, run, call)
    assert finish_execution(session, run, call, outcome)
    assert not finish_execution(session, run, call, outcome)
    assert read(session, call).cost == Decimal(cost)
    settled = session.scalars(sa.select(UsageLog.cost).where(UsageLog.status == UsageStatus.SETTLED)).all()
    assert sum(paid for paid in settled if paid is not None) == Decimal(cost)


@pytest.mark.parametrize("missing", ["requested_by", "run_id"])
def test_nothing_is_paid_for_a_call_without_a_user_or_run(session: Session, alice: Actor, missing: str) -> None:
    run = make_run(session, alice)
    changes: dict[str, Any] = {"status": ToolStatus.EXECUTING, "estimated_cost": Decimal("0.25"), missing: None}
    call = propose(session, run, **changes)
    assert finish_execution(session, run, call, DONE)
    assert session.scalars(sa.select(UsageLog.id).where(UsageLog.status == UsageStatus.SETTLED)).all() == []
