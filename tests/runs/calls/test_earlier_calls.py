"""Test which earlier calls count as the same: for asking again, and for tools that were approved before."""

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.runs.calls.proposing import UNKNOWN_OUTCOME_CODES
from tertulia.runs.lease import RunRef
from tertulia.tools.models import DecidedBy, ToolExecution, ToolStatus
from tertulia.tools.protocol import Risk
from tests.factories.tool_calls import make_run, propose
from tests.fakes.tools import Recorder


def reason_of(session: Session, call_id: str) -> str:
    return session.scalars(sa.select(ToolExecution.reason).where(ToolExecution.id == call_id)).one()


CUT_OFF: dict[str, Any] = {
    "status": ToolStatus.FAILED,
    "error_code": "outcome_unknown",
    "executed_at": clock.now(),
    "completed_at": clock.now(),
}


def is_cut_off(session: Session, run: RunRef) -> bool:
    return reason_of(session, propose(session, run)) == "outcome_unknown"


@pytest.mark.parametrize("code", UNKNOWN_OUTCOME_CODES)
def test_a_call_is_doubtful_if_its_twin_may_have_had_its_effect(session: Session, alice: Actor, code: str) -> None:
    run = make_run(session, alice)
    propose(session, run, **CUT_OFF | {"error_code": code})
    assert is_cut_off(session, run)


@pytest.mark.parametrize(
    "changes",
    [
        {"tool_name": "other"},
        {"server": "elsewhere"},
        {"arguments_digest": "0" * 64},
        {"executed_at": None},
        {"error_code": "tool_failed"},
        {"error_code": None},
    ],
)
def test_another_call_is_no_twin(session: Session, alice: Actor, changes: dict[str, Any]) -> None:
    run = make_run(session, alice)
    propose(session, run, **CUT_OFF | changes)
    assert not is_cut_off(session, run)


def test_a_call_of_another_chat_is_no_twin(session: Session, alice: Actor) -> None:
    propose(session, make_run(session, alice), **CUT_OFF)
    assert not is_cut_off(session, make_run(session, alice))


def test_the_newest_twin_decides(session: Session, alice: Actor) -> None:
    run = make_run(session, alice)
    propose(session, run, **CUT_OFF)
    propose(session, run, status=ToolStatus.COMPLETED, executed_at=clock.now(), completed_at=clock.now())
    assert not is_cut_off(session, run)


def test_reading_twice_does_no_harm(session: Session, alice: Actor) -> None:
    run, tool = make_run(session, alice), Recorder(risk=Risk.READ_ONLY)
    propose(session, run, tool, **CUT_OFF)
    assert reason_of(session, propose(session, run, tool)) != "outcome_unknown"


APPROVED: dict[str, Any] = {
    "status": ToolStatus.COMPLETED,
    "decision": DecidedBy.PERSON,
    "approved_at": clock.now(),
    "completed_at": clock.now(),
}


def test_a_tool_that_the_user_approved_before_is_not_new(session: Session, alice: Actor) -> None:
    run = make_run(session, alice)
    assert reason_of(session, propose(session, run)) == "new"
    propose(session, run, **APPROVED)
    assert reason_of(session, propose(session, run)) != "new"


@pytest.mark.parametrize(
    "changes",
    [
        {"tool_name": "other"},
        {"server": "elsewhere"},
        {"decision": DecidedBy.RULE},
        {"approved_at": None},
    ],
)
def test_an_approval_of_something_else_leaves_a_tool_new(
    session: Session, alice: Actor, changes: dict[str, Any]
) -> None:
    run = make_run(session, alice)
    propose(session, run, **APPROVED | changes)
    assert reason_of(session, propose(session, run)) == "new"


def test_the_approval_of_another_user_leaves_a_tool_new(session: Session, alice: Actor, bob: Actor) -> None:
    propose(session, make_run(session, bob), **APPROVED)
    assert reason_of(session, propose(session, make_run(session, alice))) == "new"


def test_a_tool_whose_definition_changed_is_named_as_changed(session: Session, alice: Actor) -> None:
    run = make_run(session, alice)
    propose(session, run, **APPROVED | {"definition_digest": "0" * 64})
    assert reason_of(session, propose(session, run)) == "changed"
