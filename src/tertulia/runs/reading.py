"""Read runs and announce their changes."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.chat.access import may_read_chat
from tertulia.chat.errors import MessageNotFound
from tertulia.chat.models import Chat, Message
from tertulia.chat.schemas import UsageRead
from tertulia.chat.service import get_message
from tertulia.db import wake
from tertulia.ids import MessageId, RunId
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish
from tertulia.runs.errors import RunNotFound
from tertulia.runs.events import RUN
from tertulia.runs.models import Run, RunStatus
from tertulia.runs.schemas import RunErrorRead, RunRead

RUNS = "runs"  # signal: a run may be ready to begin


RUN_PREFIX = "run:"  # prefix of a run id: signal to followers that the run ended, was suspended or was queued


def get_run(session: Session, actor: Actor, run_id: RunId) -> RunRead:
    run = session.scalars(
        sa.select(Run)
        .join(Chat, Chat.id == Run.chat_id)
        .where(Run.id == run_id, Chat.deleted_at.is_(None), may_read_chat(Chat.id, Chat.user_id)),
        {"actor_id": actor.user_id},
    ).one_or_none()
    if run is None:
        raise RunNotFound
    return read_run(run)


def may_read_run(session: Session, actor: Actor, run_id: RunId) -> bool:
    try:
        get_run(session, actor, run_id)
    except RunNotFound:
        return False
    return True


def find_open_runs(session: Session, actor: Actor, message_id: MessageId) -> list[RunId]:
    """Return the unfinished runs of a message or of replies to it; none if the actor may not read the message."""
    try:
        message = get_message(session, actor, message_id)
    except MessageNotFound:
        return []
    run_ids = session.scalars(
        sa.select(Run.id)
        .join(Message, Message.id == Run.message_id)
        .where(
            Run.chat_id == message["chat_id"],
            (Message.id == message_id) | (Message.previous_message_id == message_id),
            Run.status.in_((RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.AWAITING_APPROVAL)),
        )
    )
    return [RunId(run_id) for run_id in run_ids]


def wake_followers(session: Session, run_id: str) -> None:
    """Wake the followers of an ended run, and the executors that may begin another run."""
    wake(session, RUN_PREFIX + run_id)
    wake(session, RUNS)


def announce_run(session: Session, chat_owner_id: str, run_id: RunId, operation: Operation) -> RunRead:
    run = read_run(session.get_one(Run, run_id, populate_existing=True))
    publish(
        session,
        owner_id=chat_owner_id,
        topic=f"chat:{run['chat_id']}",
        entity=RUN,
        entity_id=run_id,
        operation=operation,
        payload=run,
        shared_id=run["chat_id"],
    )
    return run


def read_run(run: Run) -> RunRead:
    usage: UsageRead | None = None
    if run.usage is not None:
        usage = {
            "input_tokens": run.usage.prompt,
            "output_tokens": run.usage.completion,
            "total_tokens": run.usage.total,
            "cached_tokens": run.usage.cached,
            "estimated": run.usage.estimated,
        }
    error: RunErrorRead | None = {"code": run.error.code, "detail": run.error.detail} if run.error else None
    return {
        "id": run.id,
        "chat_id": run.chat_id,
        "message_id": run.message_id,
        "status": run.status,
        "provider": run.provider,
        "model_name": run.model_name,
        "error": error,
        "usage": usage,
        "cost": run.cost,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
    }
