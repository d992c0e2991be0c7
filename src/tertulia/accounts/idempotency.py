"""Run a repeated call only once: its first answer is stored with its effect and returned again."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.errors import IdempotencyKeyReused
from tertulia.accounts.models import IdempotencyKey
from tertulia.db import insert_if_absent, rowcount
from tertulia.keyring import KeyRing

KEPT = timedelta(hours=24)


@dataclass(frozen=True)
class CallIdentity:
    """The properties by which a repeated call is recognised."""

    key: str
    method: str
    path: str
    body_hashes: tuple[bytes, ...]  # with the primary key of the ring, then with the older ones


@dataclass(frozen=True)
class Answer:
    """The body to return now, and the body to store for repetitions, which lacks secrets that are shown once."""

    body: bytes
    stored_body: bytes
    status: int


def identify_call(key: str, method: str, path: str, body: bytes, keyring: KeyRing) -> CallIdentity:
    """Build the identity of a call. The body is hashed with the key ring, because it may hold a password."""
    return CallIdentity(key, method, path[:500], keyring.signatures("idempotency", body))


def run_once(session: Session, actor: Actor, call: CallIdentity, work: Callable[[], Answer]) -> tuple[int, bytes]:
    """Run the work unless this call was answered before. Return (status, body). Raises IdempotencyKeyReused.

    The key is inserted before the work, so that a second call waits until the first commits. If the first fails, its
    key is rolled back and the second call runs the work.
    """
    taken = insert_if_absent(
        session,
        IdempotencyKey,
        user_id=actor.user_id,
        key=call.key,
        method=call.method,
        path=call.path,
        body_hash=call.body_hashes[0],
        created_at=clock.now(),
    )
    if not taken:
        earlier = find_answer(session, actor, call)
        assert earlier is not None
        return earlier
    answer = work()
    mine = (IdempotencyKey.user_id == actor.user_id, IdempotencyKey.key == call.key)
    session.execute(
        sa.update(IdempotencyKey).where(*mine).values(status=answer.status, answer=answer.stored_body.decode())
    )
    return answer.status, answer.body


def find_answer(session: Session, actor: Actor, call: CallIdentity) -> tuple[int, bytes] | None:
    """Return the earlier answer of this call as (status, body), or None. Raises IdempotencyKeyReused.

    For work that waits minutes for other services: call this before starting it.
    """
    row = session.execute(
        sa.select(
            IdempotencyKey.method,
            IdempotencyKey.path,
            IdempotencyKey.body_hash,
            IdempotencyKey.status,
            IdempotencyKey.answer,
        ).where(IdempotencyKey.user_id == actor.user_id, IdempotencyKey.key == call.key)
    ).one_or_none()
    if row is None:
        return None
    if (row.method, row.path) != (call.method, call.path) or row.body_hash not in call.body_hashes:
        raise IdempotencyKeyReused
    return row.status, row.answer.encode()


def sweep_idempotency_keys(session: Session) -> int:
    return rowcount(session, sa.delete(IdempotencyKey).where(IdempotencyKey.created_at < clock.now() - KEPT))
