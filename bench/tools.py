"""Measure the overhead of recording a tool call, and listing pending approvals by how many there are."""

import time
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import User, UserRole
from tertulia.accounts.row_limits import RowLimits
from tertulia.chat.models import Message
from tertulia.chat.schemas import ChatCreate
from tertulia.chat.service import create_chat
from tertulia.db.migrate import upgrade_schema
from tertulia.db.opening import plain_engine
from tertulia.ids import UserId, new_id
from tertulia.providers.protocol import ToolCall
from tertulia.runs.calls.approvals import list_own
from tertulia.runs.calls.life import CallOutcome, finish_execution, start_execution
from tertulia.runs.calls.proposing import ProposedCall, record_calls
from tertulia.runs.lease import RunRef
from tertulia.runs.models import Run, RunStatus
from tertulia.settings import Settings
from tertulia.tools.builtin.calculator import Calculate
from tertulia.tools.models import ToolExecution, ToolStatus
from tertulia.tools.protocol import OfferedTool, ToolResult
from tertulia.tools.results import store_result
from tertulia.tools.rules import put_auto_approval
from tertulia.tools.schemas import AutoApprovalUpdate

WAITING = (10, 1_000)
TIMES = 100
ALLOWED = AutoApprovalUpdate.model_validate({"specific_tools": {"calculate": [{"rule": "allow"}]}})


def measure(folder: Path) -> tuple[list[float], list[tuple[int, list[float]]]]:
    """Return the milliseconds of each allowed call (three transactions), and of the first approvals by count."""
    settings = Settings(data=folder)
    upgrade_schema(settings, now=clock.now())
    engine = plain_engine(settings)
    actor = Actor(UserId(new_id()), UserRole.USER)
    with Session(engine) as session:
        session.add(User(id=actor.user_id, username="bench", username_key="bench", name="Bench"))
        session.flush()
        put_auto_approval(
            session, actor, ALLOWED, lambda _session, _actor: {"calculate": OfferedTool(Calculate()).digest}
        )
        session.commit()
    ran = [_run_one(engine, _caller(engine, actor)) for _ in range(TIMES)]
    lists = []
    done = 0
    for count in WAITING:
        for _ in range(count - done):
            _wait(engine, _caller(engine, actor))
        done = count
        lists.append((count, [_list(engine, actor) for _ in range(TIMES)]))
    engine.dispose()
    return ran, lists


def _caller(engine: sa.Engine, actor: Actor) -> RunRef:
    with Session(engine) as session:
        chat_id = create_chat(session, ChatCreate(title="bench"), RowLimits(), owner_id=actor.user_id)["id"]
        message_id, run_id = new_id(), new_id()
        session.execute(
            sa.insert(Message).values(
                id=message_id, chat_id=chat_id, role="assistant", status="streaming", content="", parts=[]
            )
        )
        run = {"message_id": message_id, "requested_by": actor.user_id, "status": RunStatus.RUNNING}
        session.execute(sa.insert(Run).values(id=run_id, chat_id=chat_id, provider="p", model_name="m", **run))
        session.commit()
    return RunRef(chat_id, message_id, run_id, actor.user_id, actor.user_id)


def _asked(name: str) -> ProposedCall:
    call = ToolCall(new_id(), name, "{}")
    return ProposedCall(
        call, OfferedTool(Calculate()), {"expression": "1 + 1"}, estimated=Calculate().estimate_cost({})
    )


def _run_one(engine: sa.Engine, run_ref: RunRef) -> float:
    outcome = CallOutcome(ToolStatus.COMPLETED, 1, store_result(ToolResult("2")))
    began = time.perf_counter()
    with Session(engine) as session, session.begin():
        (part,) = record_calls(session, run_ref, 1, [_asked("calculate")])
    with Session(engine) as session, session.begin():
        start_execution(session, run_ref, part.tool_execution_id)
    with Session(engine) as session, session.begin():
        finish_execution(session, run_ref, part.tool_execution_id, outcome)
    return (time.perf_counter() - began) * 1000


def _wait(engine: sa.Engine, run_ref: RunRef) -> None:
    with Session(engine) as session:
        (part,) = record_calls(session, run_ref, 1, [_asked("calculate")])
        pending = {"status": ToolStatus.PENDING, "decision": None, "approved_at": None, "decided_at": None}
        session.execute(sa.update(ToolExecution).where(ToolExecution.id == part.tool_execution_id).values(pending))
        session.commit()


def _list(engine: sa.Engine, actor: Actor) -> float:
    with Session(engine) as session:
        began = time.perf_counter()
        list_own(session, actor, status=ToolStatus.PENDING, limit=51)
        return (time.perf_counter() - began) * 1000
