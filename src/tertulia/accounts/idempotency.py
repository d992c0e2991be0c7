"""The same call twice has one effect: its first answer is stored with the effect and given again."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.errors import IdempotencyKeyReused
from tertulia.accounts.models import IdempotencyKey
from tertulia.db import insert_if_absent, rowcount

KEPT = timedelta(hours=24)


@dataclass(frozen=True)
class CallIdentity:
    """What makes a call the same call."""

    key: str
    method: str
    path: str
    body_hash: bytes


def identify_call(key: str, method: str, path: str, body: bytes) -> CallIdentity:
    return CallIdentity(key, method, path[:500], hashlib.sha256(body).digest())


def once(
    session: Session, call: CallIdentity, work: Callable[[], bytes], *, user_id: str, status: int
) -> tuple[int, bytes]:
    """Do the work unless this call was answered before: (status, body). Raises IdempotencyKeyReused.

    The key is taken before the work, so that a second call waits for the first one's commit (or takes over from its
    failure, which leaves no key).
    """
    taken = insert_if_absent(
        session,
        IdempotencyKey,
        user_id=user_id,
        key=call.key,
        method=call.method,
        path=call.path,
        body_hash=call.body_hash,
        created_at=clock.now(),
    )
    mine = (IdempotencyKey.user_id == user_id, IdempotencyKey.key == call.key)
    if not taken:
        row = session.execute(
            sa.select(
                IdempotencyKey.method,
                IdempotencyKey.path,
                IdempotencyKey.body_hash,
                IdempotencyKey.status,
                IdempotencyKey.answer,
            ).where(*mine)
        ).one()
        if (row.method, row.path, row.body_hash) != (call.method, call.path, call.body_hash):
            raise IdempotencyKeyReused
        return row.status, row.answer.encode()
    answer = work()
    session.execute(sa.update(IdempotencyKey).where(*mine).values(status=status, answer=answer.decode()))
    return status, answer


def sweep_idempotency_keys(session: Session) -> int:
    return rowcount(session, sa.delete(IdempotencyKey).where(IdempotencyKey.created_at < clock.now() - KEPT))
