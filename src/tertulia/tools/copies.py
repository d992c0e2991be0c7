"""Copy tool calls along with their messages. Copies keep arguments and results, and never run."""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.db import table_of
from tertulia.ids import new_id
from tertulia.tools.models import OPEN, ToolExecution, ToolStatus


def copy_calls(session: Session, messages: Mapping[str, str], *, chat_id: str, with_echoes: bool) -> dict[str, str]:
    """Copy the calls of `messages` (original id to copy id). Return the new id of each call by its original id.

    A copy has no run and no requesting user. A call that was still open is cancelled in the copy. `with_echoes`: the
    copy is for the same user, who may have the hidden thoughts of the reply.
    """
    originals = session.scalars(sa.select(ToolExecution).where(ToolExecution.message_id.in_(list(messages)))).all()
    copied = {original.id: new_id() for original in originals}
    now = clock.now()
    rows = []
    for original in originals:
        values = {column.name: getattr(original, key) for key, column in sa.inspect(ToolExecution).c.items()}
        values |= {"id": copied[original.id], "chat_id": chat_id, "message_id": messages[original.message_id]}
        values |= {"run_id": None, "requested_by": None, "question": None, "reply": None}
        if not with_echoes:
            values["echo"] = None
        if original.status in OPEN:
            values |= {"status": ToolStatus.CANCELLED, "completed_at": now, "error_code": "cancelled"}
            values |= {"error_message": "The chat was copied before this call finished."}
        rows.append(values)
    if rows:
        session.execute(sa.insert(table_of(ToolExecution)), rows)
    return copied
