"""Announcing: a change row in the writer's own transaction, so that nothing is told that did not happen."""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.db import Prepared, table_of, wake
from tertulia.http.answers import encode
from tertulia.realtime.models import Change, Operation

CHANGES = "changes"
SHARES = "shares"  # the signal that somebody may read more or less than before
# A payload saves its reader a request; past this size it costs more than it saves, and readers fetch the thing.
MAX_PAYLOAD_BYTES = 8 * 1024

_INSERT = Prepared(sa.insert(table_of(Change)))


def publish(
    session: Session,
    *,
    owner_id: str,
    topic: str,
    entity: str,
    entity_id: str,
    operation: Operation,
    payload: Mapping[str, object] | None = None,
    shared_id: str | None = None,
) -> None:
    """Tell the windows of the owner, once this is committed, that something changed.

    `payload` is the thing as the API gives it; a large one is left out, and readers fetch it.
    """
    encoded = encode(payload) if payload is not None else None
    _INSERT.run(
        session,
        owner_id=owner_id,
        shared_id=shared_id,
        topic=topic,
        entity=entity,
        entity_id=entity_id,
        operation=operation,
        payload=encoded.decode() if encoded is not None and len(encoded) <= MAX_PAYLOAD_BYTES else None,
        created_at=clock.now(),
    )
    wake(session, CHANGES)
