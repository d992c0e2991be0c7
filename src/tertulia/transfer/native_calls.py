"""Export and import tool calls: arguments, decisions and results. An imported call never runs again."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import sqlalchemy as sa
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.orm import Session

from tertulia.ids import AnyId, new_id
from tertulia.providers.echo import ProviderEcho
from tertulia.tools.errors import ArgumentsInvalid
from tertulia.tools.models import OPEN, DecidedBy, StoredResult, ToolExecution, ToolStatus
from tertulia.tools.protocol import Risk, digest_of
from tertulia.tools.provenance import SourceGroup
from tertulia.tools.results import MAX_COST, MAX_RESULT
from tertulia.tools.validation import check_plain

MAX_CALLS_A_MESSAGE = 500
Name = Field(min_length=1, max_length=100)
Money = Field(Decimal(0), ge=0, le=MAX_COST, max_digits=12, decimal_places=6)


class ExportedCall(BaseModel):
    """A tool call in an export. The user who decided and the run are omitted, as they belong to one server."""

    id: AnyId
    step: int = Field(ge=1, le=1_000_000)
    tool_call_id: str = Field(max_length=200)
    tool_name: str = Name
    server: str | None = Field(None, max_length=100)
    risk: Risk
    parameters: dict[str, Any]
    edited_parameters: dict[str, Any] | None = None
    status: ToolStatus
    decision: DecidedBy | None = None
    reason: str = Field(max_length=40)
    sources: list[SourceGroup] = Field(default_factory=list, max_length=20)
    deny_note: str | None = Field(None, max_length=1000)
    approval_requested_at: datetime | None = None
    approved_at: datetime | None = None
    decided_at: datetime | None = None
    executed_at: datetime | None = None
    completed_at: datetime | None = None
    execution_time_ms: int | None = Field(None, ge=0, le=2**31 - 1)
    estimated_cost: Decimal = Money
    cost: Decimal | None = Field(None, ge=0, le=MAX_COST, max_digits=12, decimal_places=6)
    result: StoredResult | None = None
    error_code: str | None = Field(None, max_length=40)
    error_message: str | None = Field(None, max_length=4000)
    echo: ProviderEcho | None = None
    created_at: datetime


def export_calls(
    session: Session, chat_id: str, known: dict[str, str], *, is_own: bool
) -> dict[str, list[dict[str, Any]]]:
    """Return each message's calls in order, by message id. `known` maps message ids to their ids in the export.

    Hidden thoughts are only for the owner.

    A call's id is derived from its message and position, so that it survives an import and a new export.
    """
    calls_by_message: dict[str, list[dict[str, Any]]] = {}
    rows = session.scalars(sa.select(ToolExecution).where(ToolExecution.chat_id == chat_id).order_by(ToolExecution.id))
    for row in rows:
        if row.message_id not in known:
            continue
        calls = calls_by_message.setdefault(row.message_id, [])
        exported = ExportedCall.model_validate(row, from_attributes=True).model_dump(
            mode="json", exclude_none=True, exclude=None if is_own else {"echo"}
        )
        calls.append(exported | {"id": _named(known[row.message_id], len(calls)), "own_id": row.id})
    return calls_by_message


def _named(message_id: str, place: int) -> str:
    return str(uuid5(NAMESPACE_OID, f"{message_id} {place}"))


def imported_calls(entries: object, problems: list[str]) -> list[ExportedCall]:
    """Parse a message's calls. Invalid ones are left out and added to `problems`."""
    calls = []
    for entry in entries[:MAX_CALLS_A_MESSAGE] if isinstance(entries, list) else []:
        try:
            call = ExportedCall.model_validate(entry)
            check_plain(call.model_dump(mode="json", exclude={"result"}))
            if call.result is not None:
                check_plain(call.result.content)
                if len(call.result.model_dump_json()) > 2 * MAX_RESULT:
                    raise ArgumentsInvalid("too long")
        except (ValidationError, ArgumentsInvalid):
            problems.append("A tool call could not be read and was left out.")
            continue
        calls.append(call)
    return calls


def row_of(call: ExportedCall, *, chat_id: str, message_id: str, now: datetime) -> dict[str, Any]:
    """Build the row of an imported call: finished, without run or user, and with an untrusted result in any case."""
    values: dict[str, Any] = {name: getattr(call, name) for name in ExportedCall.model_fields}
    if call.status in OPEN:
        values |= {
            "status": ToolStatus.CANCELLED,
            "error_code": "cancelled",
            "error_message": "Exported before it finished.",
        }
    edited = call.parameters if call.edited_parameters is None else call.edited_parameters
    return values | {
        "id": new_id(),
        "chat_id": chat_id,
        "message_id": message_id,
        "run_id": None,
        "requested_by": None,
        "decided_by": None,
        "definition_digest": "",
        "arguments_digest": digest_of(edited),
        "is_untrusted": True,
        "result_sources": [{"kind": "tool", "name": call.tool_name}],
        "expires_at": None,
        "updated_at": now,
    }
