"""Publish changes as rows in the writer's own transaction, so that only committed changes are announced."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.db import Prepared, table_of, wake
from tertulia.http.responses import encode
from tertulia.realtime.entities import Entity, P
from tertulia.realtime.models import Change, Operation

CHANGES = "changes"
SHARES = "shares"  # the signal that read permissions changed
# A payload saves its reader a request. Above this size it costs more than it saves, and readers fetch the object.
MAX_PAYLOAD_BYTES = 8 * 1024

_INSERT = Prepared(sa.insert(table_of(Change)))


def publish(
    session: Session,
    *,
    owner_id: str,
    topic: str,
    entity: Entity[P],
    entity_id: str,
    operation: Operation,
    payload: P | None = None,
    shared_id: str | None = None,
) -> None:
    """Notify the windows of the owner, and of readers of `shared_id`, of a change once it is committed.

    `payload` is the object as the API returns it. A large one is left out, and readers fetch the object.
    """
    encoded = encode(payload) if payload is not None else None
    _INSERT.run(
        session,
        owner_id=owner_id,
        shared_id=shared_id,
        topic=topic,
        entity=entity.name,
        entity_id=entity_id,
        operation=operation,
        payload=encoded.decode() if encoded is not None and len(encoded) <= MAX_PAYLOAD_BYTES else None,
        created_at=clock.now(),
    )
    wake(session, CHANGES)
