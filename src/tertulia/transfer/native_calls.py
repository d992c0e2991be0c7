"""Calls of tools in our own export, and out of it again: all that was asked, decided and given, and nothing that happens again."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import sqlalchemy as sa
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.orm import Session

from tertulia.ids import AnyId, new_id
from tertulia.tools.errors import ArgumentsInvalid
from tertulia.tools.models import OPEN, DecidedBy, StoredResult, ToolExecution, ToolStatus
from tertulia.tools.protocol import Risk, digest_of
from tertulia.tools.results import MAX_COST, MAX_RESULT
from tertulia.tools.validation import check_plain

MAX_CALLS_A_MESSAGE = 500
Name = Field(min_length=1, max_length=100)
Money = Field(Decimal(0), ge=0, le=MAX_COST, max_digits=12, decimal_places=6)


class ExportedCall(BaseModel):
    """A call as it stands in an export. Who decided, and in which run, is of the server that it came from."""

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
    untrusted_sources: list[str] = Field(default_factory=list, max_length=100)
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
    created_at: datetime


def export_calls(session: Session, chat_id: str, known: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """By the messages' own ids, each message's calls in their order. `known`: what the export calls each message.

    A call is named after its message and its place in it, so that what comes in and goes out again is called the same.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    rows = session.scalars(sa.select(ToolExecution).where(ToolExecution.chat_id == chat_id).order_by(ToolExecution.id))
    for row in rows:
        if row.message_id not in known:
            continue
        calls = found.setdefault(row.message_id, [])
        told = ExportedCall.model_validate(row, from_attributes=True).model_dump(mode="json", exclude_none=True)
        calls.append(told | {"id": _named(known[row.message_id], len(calls)), "own_id": row.id})
    return found


def _named(message_id: str, place: int) -> str:
    return str(uuid5(NAMESPACE_OID, f"{message_id} {place}"))


def imported_calls(given: object, problems: list[str]) -> list[ExportedCall]:
    """Those of a message that can be understood; the others are left out, with a word about it."""
    made = []
    for one in given[:MAX_CALLS_A_MESSAGE] if isinstance(given, list) else []:
        try:
            call = ExportedCall.model_validate(one)
            check_plain(call.model_dump(mode="json", exclude={"result"}))
            if call.result is not None:
                check_plain(call.result.content)
                if len(call.result.model_dump_json()) > 2 * MAX_RESULT:
                    raise ArgumentsInvalid("too long")
        except (ValidationError, ArgumentsInvalid):
            problems.append("A call of a tool could not be understood, and was left out.")
            continue
        made.append(call)
    return made


def row_of(call: ExportedCall, *, chat_id: str, message_id: str, now: datetime) -> dict[str, Any]:
    """A call as it is stored: of no run and nobody's, ended, and its result somebody else's words, whatever the export says."""
    values: dict[str, Any] = {name: getattr(call, name) for name in ExportedCall.model_fields}
    if call.status in OPEN:
        values |= {
            "status": ToolStatus.CANCELLED,
            "error_code": "cancelled",
            "error_message": "Exported before it was done.",
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
        "expires_at": None,
        "updated_at": now,
    }
