"""Taking runs under a lease: who goes next, in which process, and for how long without a word."""

from collections import Counter
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.models import User, UserStatus
from tertulia.chat.access import may_write_chat
from tertulia.chat.models import Chat, Message
from tertulia.chat.parts import Part
from tertulia.db import seconds_from_now
from tertulia.ids import ChatId, MessageId, RunId
from tertulia.realtime.models import Operation
from tertulia.runs.calls.life import Caller
from tertulia.runs.models import Run, RunStatus
from tertulia.runs.service import announce_run, end_queued

LEASE_S = 8
MOST_CLAIMED = 50  # runs in one transaction
CLAIM_LOCK = 0x72756E  # "run": one process at a time decides who runs next
LIVE = (RunStatus.RUNNING, RunStatus.AWAITING_APPROVAL)


@dataclass(frozen=True)
class Claimed:
    """A run that this process executes, and the lease that it writes under."""

    id: RunId
    chat_id: ChatId
    message_id: MessageId
    owner_id: str  # of the chat
    provider: str
    model_name: str
    continues: bool
    payer_id: str  # who asked for it: their key, their money, their limits
    lease_owner: str
    lease_number: int
    parts: tuple[Part, ...]  # what the message has already

    @property
    def caller(self) -> Caller:
        """On whose behalf its tools are called."""
        return Caller(self.chat_id, self.message_id, self.id, self.owner_id, self.payer_id)


def claim_runs(session: Session, *, owner: str, at_once: int) -> list[Claimed]:
    """Take the oldest queued runs whose chat is idle and whose user has fewer than `at_once` going."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(CLAIM_LOCK)))
    going = session.execute(
        sa.select(Run.chat_id, Run.requested_by, Message.previous_message_id, Run.status)
        .join(Message, Message.id == Run.message_id)
        .where(Run.status.in_(LIVE))
    ).all()
    # What each chat is answering now: replies to one message may be written side by side, others wait for them.
    answering: dict[str, str | None] = {chat_id: previous for chat_id, _, previous, _ in going}
    by_user = Counter(user_id for _, user_id, _, status in going if status is RunStatus.RUNNING)
    full = [user_id for user_id, count in by_user.items() if user_id is not None and count >= at_once]
    queued = session.execute(
        sa.select(Run.id, Run.chat_id, Run.requested_by, Message.previous_message_id)
        .join(Message, Message.id == Run.message_id)
        .where(Run.status == RunStatus.QUEUED)
        # Nobody's queue, however long, hides another's.
        .where(Run.requested_by.not_in(full) | Run.requested_by.is_(None))
        .order_by(Run.created_at, Run.id)
        .limit(10 * MOST_CLAIMED)
        .with_for_update(of=Run, skip_locked=True)
    ).all()
    claimed: list[Claimed] = []
    for run_id, chat_id, user_id, previous in queued:
        if not _may_still_write(session, chat_id, user_id):
            _end_unwanted(session, run_id)
            continue
        is_free = answering.get(chat_id, previous) == previous
        if is_free and by_user[user_id] < at_once and len(claimed) < MOST_CLAIMED:
            answering[chat_id] = previous
            by_user[user_id] += 1
            claimed.append(_claim(session, run_id, owner))
    return claimed


def _may_still_write(session: Session, chat_id: str, user_id: str | None) -> bool:
    """Leave may have been taken since it was asked for; and nobody else pays for somebody who is gone."""
    if user_id is None:
        return False
    is_here = sa.exists().where(User.id == user_id, User.status == UserStatus.ACTIVE)
    found = session.scalar(
        sa.select(Chat.id).where(Chat.id == chat_id, may_write_chat(Chat.id, Chat.user_id), is_here),
        {"actor_id": user_id},
    )
    return found is not None


def _end_unwanted(session: Session, run_id: str) -> None:
    run, owner_id = session.execute(
        sa.select(Run, Chat.user_id).join(Chat, Chat.id == Run.chat_id).where(Run.id == run_id)
    ).one()
    end_queued(session, run, owner_id)


def _claim(session: Session, run_id: str, owner: str) -> Claimed:
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
    return Claimed(
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
    )


def has_queued_runs(session: Session) -> bool:
    return session.scalar(sa.select(Run.id).where(Run.status == RunStatus.QUEUED).limit(1)) is not None


def renew_leases(session: Session, run_ids: list[str], *, owner: str) -> tuple[set[str], set[str]]:
    """Keep what this process runs; gives the ids it still holds, and those of them that are to stop: somebody wants that, or whoever
    asked for them may not sign in any more."""
    mine = (Run.id.in_(run_ids), Run.lease_owner == owner, Run.status == RunStatus.RUNNING)
    session.execute(
        sa.update(Run).where(*mine).values(lease_expires_at=seconds_from_now(LEASE_S), updated_at=Run.updated_at)
    )
    is_gone = Run.requested_by.not_in(sa.select(User.id).where(User.status == UserStatus.ACTIVE))
    rows = session.execute(sa.select(Run.id, Run.cancel_requested_at.is_not(None) | is_gone).where(*mine)).all()
    return {row[0] for row in rows}, {row[0] for row in rows if row[1]}
