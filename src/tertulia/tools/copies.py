"""Calls of tools in a copy of their messages: what they asked and gave goes along, and nothing of it happens again."""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.db import table_of
from tertulia.ids import new_id
from tertulia.tools.models import OPEN, ToolExecution, ToolStatus


def copy_calls(session: Session, messages: Mapping[str, str], *, chat_id: str) -> dict[str, str]:
    """Of messages by the id of their copies; gives the new id of each call.

    A copy belongs to no run and to nobody's history, and what was under way in the first ends here.
    """
    originals = session.scalars(sa.select(ToolExecution).where(ToolExecution.message_id.in_(list(messages)))).all()
    copied = {original.id: new_id() for original in originals}
    now = clock.now()
    rows = []
    for original in originals:
        values = {column.name: getattr(original, key) for key, column in sa.inspect(ToolExecution).c.items()}
        values |= {"id": copied[original.id], "chat_id": chat_id, "message_id": messages[original.message_id]}
        values |= {"run_id": None, "requested_by": None, "question": None, "reply": None}
        if original.status in OPEN:
            values |= {"status": ToolStatus.CANCELLED, "completed_at": now, "error_code": "cancelled"}
            values |= {"error_message": "Copied before it was done."}
        rows.append(values)
    if rows:
        session.execute(sa.insert(table_of(ToolExecution)), rows)
    return copied
