"""Claim queued runs under a lease: which run is next, which process executes it, and how long the lease lasts."""

from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.models import User, UserStatus
from tertulia.billing.plans import find_allowed
from tertulia.chat.access import may_write_chat
from tertulia.chat.models import Chat, Message
from tertulia.db import seconds_from_now
from tertulia.ids import ChatId, MessageId, RunId
from tertulia.realtime.models import Operation
from tertulia.runs.lease import LEASE_S, ClaimedRun
from tertulia.runs.models import ReplyOptions, Run, RunStatus
from tertulia.runs.reading import announce_run
from tertulia.runs.service import end_queued

MAX_CLAIMED = 50  # runs in one transaction
CLAIM_LOCK = 0x72756E  # "run" in ASCII: one process at a time claims runs
LIVE = (RunStatus.RUNNING, RunStatus.AWAITING_APPROVAL)


def claim_runs(session: Session, *, owner: str, at_once: int) -> list[ClaimedRun]:
    """Claim the oldest queued runs whose chat is idle and whose user has fewer than `at_once` running.

    Runs whose user may no longer write in the chat are cancelled.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(CLAIM_LOCK)))
    live_runs = session.execute(
        sa.select(Run.chat_id, Run.requested_by, Message.previous_message_id, Run.status)
        .join(Message, Message.id == Run.message_id)
        .where(Run.status.in_(LIVE))
    ).all()
    # The message each chat is answering now. Replies to one message are written in parallel; others wait for them.
    answering: dict[str, str | None] = {chat_id: previous for chat_id, _, previous, _ in live_runs}
    by_user = Counter(user_id for _, user_id, _, status in live_runs if status is RunStatus.RUNNING)
    full = [user_id for user_id, count in by_user.items() if user_id is not None and count >= at_once]
    queued = session.execute(
        sa.select(Run.id, Run.chat_id, Run.requested_by, Message.previous_message_id)
        .join(Message, Message.id == Run.message_id)
        .where(Run.status == RunStatus.QUEUED)
        # Users at their limit are skipped, so that their queue does not hide the runs of others.
        .where(Run.requested_by.not_in(full) | Run.requested_by.is_(None))
        .order_by(Run.created_at, Run.id)
        .limit(10 * MAX_CLAIMED)
        .with_for_update(of=Run, skip_locked=True)
    ).all()
    claimed: list[ClaimedRun] = []
    for run_id, chat_id, user_id, previous in queued:
        if not _may_still_write(session, chat_id, user_id):
            _end_unwanted(session, run_id)
            continue
        is_free = answering.get(chat_id, previous) == previous
        if is_free and by_user[user_id] < at_once and len(claimed) < MAX_CLAIMED:
            answering[chat_id] = previous
            by_user[user_id] += 1
            claimed.append(_claim(session, run_id, owner))
    return claimed


def _may_still_write(session: Session, chat_id: str, user_id: str | None) -> bool:
    """Return whether the requester is active and still has write permission. False for a deleted user (None)."""
    if user_id is None:
        return False
    is_here = sa.exists().where(User.id == user_id, User.status == UserStatus.ACTIVE)
    writable_id = session.scalar(
        sa.select(Chat.id).where(Chat.id == chat_id, may_write_chat(Chat.id, Chat.user_id), is_here),
        {"actor_id": user_id},
    )
    return writable_id is not None


def _end_unwanted(session: Session, run_id: str) -> None:
    run, owner_id = session.execute(
        sa.select(Run, Chat.user_id).join(Chat, Chat.id == Run.chat_id).where(Run.id == run_id)
    ).one()
    end_queued(session, run, owner_id)


def _claim(session: Session, run_id: str, owner: str) -> ClaimedRun:
    run, owner_id, parts = session.execute(
        sa.select(Run, Chat.user_id, Message.parts)
        .join(Chat, Chat.id == Run.chat_id)
        .join(Message, Message.id == Run.message_id)
        .where(Run.id == run_id)
    ).one()
    run.status, run.lease_owner, run.lease_number = RunStatus.RUNNING, owner, run.lease_number + 1
    run.lease_expires_at, run.started_at = seconds_from_now(LEASE_S), run.started_at or clock.now()
    session.flush()
    announce_run(session, owner_id, RunId(run.id), Operation.UPDATED)
    return ClaimedRun(
        RunId(run.id),
        ChatId(run.chat_id),
        MessageId(run.message_id),
        owner_id,
        run.provider,
        run.model_name,
        run.continues,
        run.requested_by or owner_id,
        owner,
        run.lease_number,
        tuple(parts),
        run.options or ReplyOptions(),
        run.api_token_id,
        find_allowed(session, run.requested_by or owner_id),
    )


def has_queued_runs(session: Session) -> bool:
    return session.scalar(sa.select(Run.id).where(Run.status == RunStatus.QUEUED).limit(1)) is not None


def renew_leases(session: Session, runs: Sequence[ClaimedRun]) -> tuple[set[str], set[str]]:
    """Renew the leases of runs that this process executes. Return the ids that it still holds and, of those, the ids to stop.

    A lease is held by its owner and number: the same process may have lost the run and claimed it again. A run must stop
    if its cancellation was requested or its requester may no longer sign in.
    """
    leases = [(run.id, run.lease_owner, run.lease_number) for run in runs]
    held = (
        sa.tuple_(Run.id, Run.lease_owner, Run.lease_number).in_(leases),
        Run.status == RunStatus.RUNNING,
    )
    session.execute(
        sa.update(Run).where(*held).values(lease_expires_at=seconds_from_now(LEASE_S), updated_at=Run.updated_at)
    )
    is_gone = Run.requested_by.not_in(sa.select(User.id).where(User.status == UserStatus.ACTIVE))
    rows = session.execute(sa.select(Run.id, Run.cancel_requested_at.is_not(None) | is_gone).where(*held)).all()
    return {run_id for run_id, _ in rows}, {run_id for run_id, must_stop in rows if must_stop}
