"""Test that each write of a run needs its lease: the owner and the number."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import Share, User, UserStatus
from tertulia.chat.models import FinishReason, Message
from tertulia.chat.parts import TextPart
from tertulia.ids import new_id
from tertulia.providers.protocol import ToolCall
from tertulia.realtime.models import Change
from tertulia.runs.calls.life import CallOutcome, close_calls, fail_approved, finish_execution, start_execution
from tertulia.runs.calls.proposing import ProposedCall
from tertulia.runs.calls.questions import put_question, remove_question
from tertulia.runs.engine import steps
from tertulia.runs.engine.abandoned import interrupt_abandoned
from tertulia.runs.engine.claims import claim_runs, renew_leases
from tertulia.runs.engine.steps import (
    Outcome,
    begin_streaming,
    checkpoint,
    end_step,
    finish_run,
    release_run,
    suspend_run,
)
from tertulia.runs.errors import LeaseLost
from tertulia.runs.lease import ClaimedRun, with_lease
from tertulia.runs.models import Run, RunStatus, Step, StepRequest
from tertulia.runs.request.build import start_step
from tertulia.tools.models import StoredQuestion, ToolExecution, ToolStatus
from tertulia.tools.protocol import OfferedTool
from tests.factories.chats import add_message, make_chat
from tests.fakes.tools import Recorder

PROCESS = "this-process"
LATE = [TextPart(text="Too late")]
ENDED = Outcome(RunStatus.COMPLETED, FinishReason.STOP)
QUESTION = StoredQuestion(id=new_id(), message="?", form=None, url=None, asked_at=clock.now())


def make_run(session: Session, owner: Actor) -> str:
    chat_id = make_chat(session, owner=owner)
    question = add_message(session, chat_id, "Do it", owner=owner)
    reply = add_message(session, chat_id, "", owner=owner, is_reply=True, after=question)
    run = {"id": new_id(), "chat_id": chat_id, "message_id": reply, "requested_by": owner.user_id}
    session.add(Run(**run, provider="p", model_name="m"))
    session.flush()
    return str(run["id"])


def claim(session: Session) -> ClaimedRun:
    (run,) = claim_runs(session, owner=PROCESS, at_once=4)
    return run


@pytest.fixture
def attempts(session: Session, alice: Actor) -> tuple[ClaimedRun, ClaimedRun]:
    """Return two attempts of one process at one run: it lost the first at a tool call, and claimed the run again."""
    make_run(session, alice)
    first = claim(session)
    request = StepRequest(provider="p", model_name="m", message_ids=[], left_out=0, continues=False)
    session.add(Step(id=new_id(), run_id=first.id, number=1, request=request))
    session.flush()
    proposed = ProposedCall(ToolCall("1", "record", "{}"), OfferedTool(Recorder()), {})
    end_step(session, first, [], [proposed], Outcome(RunStatus.COMPLETED, FinishReason.TOOL_CALLS))
    session.execute(sa.update(ToolExecution).values(status=ToolStatus.APPROVED, approved_at=clock.now()))
    session.execute(sa.update(Run).values(lease_expires_at=clock.now() - timedelta(seconds=1)))
    session.expire_all()
    assert interrupt_abandoned(session, everything=False) == 1
    second = claim(session)
    assert (first.id, first.lease_owner) == (second.id, second.lease_owner)
    session.flush()
    return first, second


WRITES: dict[str, Callable[[Session, ClaimedRun, str], object]] = {
    "checkpoint": lambda session, run, _: checkpoint(session, run, list(LATE)),
    "begin_streaming": lambda session, run, _: begin_streaming(session, run, list(LATE)),
    "start_step": lambda session, run, _: start_step(session, run, None, continues_prefix=False),  # type: ignore[arg-type]
    "end_step": lambda session, run, _: end_step(session, run, list(LATE), [], ENDED),
    "suspend_run": lambda session, run, _: suspend_run(session, run),
    "release_run": lambda session, run, _: release_run(session, run),
    "finish_run": lambda session, run, _: finish_run(session, run, list(LATE), ENDED, started_at=clock.now()),
    "start_execution": lambda session, run, call: with_lease(session, run, start_execution, call),
    "finish_execution": lambda session, run, call: with_lease(
        session, run, finish_execution, call, CallOutcome(ToolStatus.COMPLETED, 1)
    ),
    "fail_approved": lambda session, run, call: with_lease(session, run, fail_approved, call, "code", "Too late"),
    "put_question": lambda session, run, call: with_lease(session, run, put_question, call, QUESTION),
    "remove_question": lambda session, run, call: with_lease(session, run, remove_question, call, QUESTION),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_late_write_of_an_earlier_attempt_of_the_same_process_is_refused(
    session: Session, attempts: tuple[ClaimedRun, ClaimedRun], write: str
) -> None:
    first, _ = attempts
    call_id = session.scalars(sa.select(ToolExecution.id)).one()
    with pytest.raises(LeaseLost):
        WRITES[write](session, first, call_id)
    assert session.scalars(sa.select(Message.content).where(Message.id == first.message_id)).one() == ""
    assert session.scalars(sa.select(Run.status)).one() is RunStatus.RUNNING


@pytest.mark.parametrize("write", WRITES)
def test_a_write_of_another_process_is_refused(
    session: Session, attempts: tuple[ClaimedRun, ClaimedRun], write: str
) -> None:
    _, second = attempts
    call_id = session.scalars(sa.select(ToolExecution.id)).one()
    with pytest.raises(LeaseLost):
        WRITES[write](session, replace(second, lease_owner="another-process"), call_id)


def test_a_run_keeps_the_time_of_its_first_start(session: Session, attempts: tuple[ClaimedRun, ClaimedRun]) -> None:
    first = attempts[0]
    run = session.get_one(Run, first.id)
    assert run.started_at is not None
    began = run.started_at
    run.status, run.lease_expires_at = RunStatus.QUEUED, None
    session.flush()
    claim(session)
    assert session.get_one(Run, first.id, populate_existing=True).started_at == began


def test_the_current_attempt_may_write(session: Session, attempts: tuple[ClaimedRun, ClaimedRun]) -> None:
    _, second = attempts
    checkpoint(session, second, [TextPart(text="In time")])
    assert session.scalars(sa.select(Message.content).where(Message.id == second.message_id)).one() == "In time"


def test_two_runs_of_one_process_keep_their_own_leases(session: Session, alice: Actor) -> None:
    for _ in range(2):
        make_run(session, alice)
    first, second = claim_runs(session, owner=PROCESS, at_once=4)
    late = clock.now() - timedelta(seconds=1)
    session.execute(sa.update(Run).values(lease_expires_at=late))
    checkpoint(session, first, [TextPart(text="In time")])
    assert session.scalars(sa.select(Run.id).where(Run.lease_expires_at > late)).all() == [first.id]
    assert session.scalars(sa.select(Run.id).where(Run.lease_expires_at == late)).all() == [second.id]


def test_a_run_that_is_not_running_cannot_be_renewed(session: Session, alice: Actor) -> None:
    make_run(session, alice)
    run = claim(session)
    session.execute(sa.update(Run).where(Run.id == run.id).values(status=RunStatus.AWAITING_APPROVAL))
    with pytest.raises(LeaseLost):
        checkpoint(session, run, list(LATE))
    assert renew_leases(session, [run]) == (set(), set())


def test_a_guest_pays_for_a_reply_in_a_shared_chat(session: Session, alice: Actor, bob: Actor) -> None:
    run_id = make_run(session, alice)
    chat_id = session.scalars(sa.select(Run.chat_id).where(Run.id == run_id)).one()
    share = {"owner_id": alice.user_id, "shared_with_user_id": bob.user_id, "can_write": True, "can_share": False}
    session.add(Share(id=new_id(), chat_id=chat_id, token_hash=b"t" * 32, **share))
    session.execute(sa.update(Run).values(requested_by=bob.user_id))
    session.flush()
    run = claim(session)
    assert (run.payer_id, run.owner_id) == (bob.user_id, alice.user_id)


def test_a_run_needs_write_permission_in_its_own_chat(session: Session, alice: Actor, bob: Actor) -> None:
    make_chat(session, owner=bob)
    kept, ended = make_run(session, bob), make_run(session, alice)
    session.execute(sa.update(Run).where(Run.id == ended).values(requested_by=bob.user_id))
    assert [run.id for run in claim_runs(session, owner=PROCESS, at_once=4)] == [kept]
    assert session.get_one(Run, ended, populate_existing=True).status is RunStatus.CANCELLED


def test_the_calls_of_another_run_stay_open(
    session: Session, alice: Actor, attempts: tuple[ClaimedRun, ClaimedRun]
) -> None:
    _, run = attempts
    other = make_run(session, alice)
    close_calls(session, other, alice.user_id, was_cancelled=True)
    assert session.scalars(sa.select(ToolExecution.status)).all() == [ToolStatus.APPROVED]
    close_calls(session, run.id, alice.user_id, was_cancelled=True)
    session.expire_all()
    assert session.scalars(sa.select(ToolExecution.status)).all() == [ToolStatus.CANCELLED]


def test_a_run_that_its_user_may_no_longer_write_is_cancelled_alone(session: Session, alice: Actor, bob: Actor) -> None:
    kept, ended = make_run(session, alice), make_run(session, bob)
    session.execute(sa.update(User).where(User.id == bob.user_id).values(status=UserStatus.INACTIVE))
    assert [run.id for run in claim_runs(session, owner=PROCESS, at_once=4)] == [kept]
    assert session.get_one(Run, ended, populate_existing=True).status is RunStatus.CANCELLED
    assert session.get_one(Run, kept, populate_existing=True).status is RunStatus.RUNNING
    owners = {
        run: session.scalars(sa.select(Change.owner_id).where(Change.entity_id == run)).all() for run in (kept, ended)
    }
    assert owners == {kept: [alice.user_id], ended: [bob.user_id]}


def test_renewing_an_earlier_attempt_reports_it_as_lost(
    session: Session, attempts: tuple[ClaimedRun, ClaimedRun]
) -> None:
    first, second = attempts
    assert renew_leases(session, [first]) == (set(), set())
    assert renew_leases(session, [second]) == ({second.id}, set())
    assert renew_leases(session, [replace(second, lease_owner="another-process")]) == (set(), set())


def test_every_write_of_a_run_is_listed_here() -> None:
    """Find the functions that take a claimed run first, so that a new one joins the tests above."""
    functions = vars(steps).items()
    takes_run = {
        name
        for name, function in functions
        if not name.startswith("_") and getattr(function, "__annotations__", {}).get("run") is ClaimedRun
    }
    assert takes_run - {"hold_lease"} <= set(WRITES)
