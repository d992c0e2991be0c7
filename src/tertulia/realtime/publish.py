"""Announcing: a change row in the writer's own transaction, so that nothing is told that did not happen."""

from collections.abc import Mapping

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.db import Prepared, wake
from tertulia.http.answers import encode
from tertulia.realtime.models import Change, Operation

CHANGES = "changes"
# A payload saves its reader a request; past this size it costs more than it saves, and readers fetch the thing.
MAX_PAYLOAD_BYTES = 8 * 1024

_INSERT = Prepared(
    sa.insert(Change).values(
        {
            column: sa.bindparam(f"new_{column}", type_=Change.__table__.c[column].type)
            for column in ("owner_id", "chat_id", "topic", "entity", "entity_id", "operation", "payload", "created_at")
        }
    )
)


def publish(
    session: Session,
    *,
    owner_id: str,
    topic: str,
    entity: str,
    entity_id: str,
    operation: Operation,
    payload: Mapping[str, object] | None = None,
    chat_id: str | None = None,
) -> None:
    """Tell the windows of the owner, once this is committed, that something changed.

    `payload` is the thing as the API gives it; a large one is left out, and readers fetch it.
    """
    encoded = encode(payload) if payload is not None else None
    _INSERT.run(
        session,
        new_owner_id=owner_id,
        new_chat_id=chat_id,
        new_topic=topic,
        new_entity=entity,
        new_entity_id=entity_id,
        new_operation=operation,
        new_payload=orjson.loads(encoded) if encoded is not None and len(encoded) <= MAX_PAYLOAD_BYTES else None,
        new_created_at=clock.now(),
    )
    wake(session, CHANGES)
