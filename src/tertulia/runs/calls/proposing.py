"""Calls as a model asks for them: recorded, each run by a rule, refused by one, or left to the person."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.billing.ledger import spent_on_tools
from tertulia.chat.models import Chat
from tertulia.chat.parts import ToolCallPart
from tertulia.drafts.shares import has_other_readers
from tertulia.ids import new_id
from tertulia.providers.protocol import ToolCall
from tertulia.realtime.models import Operation
from tertulia.runs.calls.life import APPROVAL_LASTS, NO_ROOM_IN_HOUR, Caller, count_calls
from tertulia.runs.calls.reading import announce_call, owner_of
from tertulia.tools.errors import RefusedByRule
from tertulia.tools.models import OPEN, DecidedBy, ToolExecution, ToolStatus
from tertulia.tools.policy import Call, Decision, Rules, cost_to_reserve, decide
from tertulia.tools.protocol import OfferedTool, Risk, digest_of, tool_key
from tertulia.tools.rules import HOUR, load_rules

MAX_CALLS = 25  # of one run
# What may have had its effect, although nobody heard that it had.
UNKNOWN_ENDS = ("outcome_unknown", "tool_timeout", "cancelled")
REFUSALS = {
    "unknown_tool": "There is no such tool here.",
    "too_many_calls": f"A reply may call tools {MAX_CALLS} times at most.",
    "never": "A rule of the person refuses this tool.",
    "cost_per_tool": "It may cost more than the person allows for one call.",
    "cost_per_hour": NO_ROOM_IN_HOUR,
}


@dataclass(frozen=True)
class AskedCall:
    """A call as a model asked for it, with what is known of it before anything is decided."""

    call: ToolCall
    offered: OfferedTool | None
    arguments: dict[str, Any]
    problem: str | None = None  # why it cannot be: the model is told
    estimated: Decimal | None = None
    untrusted: Sequence[str] = ()


def add_calls(session: Session, caller: Caller, step: int, asked: Sequence[AskedCall]) -> list[ToolCallPart]:
    """Record what a model asked for, each decided by the rules or left to the person; gives the parts that show them.

    What is beyond the limit of a run is refused, so that a model that never ends is ended. The caller holds the payer's row.
    """
    rules = _rules_of(session, caller)
    spent = spent_on_tools(session, caller.payer_id, since=clock.now() - HOUR)
    before = count_calls(session, caller.run_id)
    parts = []
    for number, one in enumerate(asked, start=before + 1):
        values = _judged(session, caller, rules, spent, one) if number <= MAX_CALLS else _refused(one, "too_many_calls")
        if values["status"] in OPEN:
            spent += values["estimated_cost"]
        parts.append(_insert(session, caller, step, one, values))
    return parts


def _rules_of(session: Session, caller: Caller) -> Rules:
    rules = load_rules(session, caller.payer_id)
    if caller.payer_id != caller.owner_id:
        return rules  # what the owner lets happen in their chat counts for the owner alone
    return rules.in_chat(session.scalars(sa.select(Chat.auto_approval).where(Chat.id == caller.chat_id)).one())


def _judged(session: Session, caller: Caller, rules: Rules, spent: Decimal, asked: AskedCall) -> dict[str, Any]:
    if asked.offered is None or asked.problem is not None:
        return _refused(asked, "unknown_tool" if asked.offered is None else "arguments_invalid")
    cost = cost_to_reserve(asked.estimated, rules)
    decision = decide(rules, _as_call(session, caller, asked, asked.offered, cost, spent))
    values: dict[str, Any] = {"estimated_cost": cost, "reason": decision.reason}
    now = clock.now()
    match decision:
        case Decision("run"):
            approved = {"status": ToolStatus.APPROVED, "approved_at": now}
            return values | approved | {"decision": DecidedBy.RULE, "decided_at": now}
        case Decision("refuse"):
            return values | _denied(decision.reason)
        case _:
            asking = {"approval_requested_at": now, "expires_at": now + APPROVAL_LASTS}
            return values | {"status": ToolStatus.PENDING} | asking


def _as_call(
    session: Session, caller: Caller, asked: AskedCall, offered: OfferedTool, cost: Decimal, spent: Decimal
) -> Call:
    approved = session.scalars(
        sa.select(ToolExecution.definition_digest)
        .where(
            ToolExecution.requested_by == caller.payer_id,
            ToolExecution.tool_name == offered.tool.name,
            ToolExecution.server.is_not_distinct_from(offered.server),
            ToolExecution.decision == DecidedBy.PERSON,
            ToolExecution.approved_at.is_not(None),
        )
        .distinct()
    ).all()
    return Call(
        key=offered.key,
        risk=offered.tool.risk,
        arguments=asked.arguments,
        definition_digest=offered.digest,
        cost=cost,
        spent=spent,
        sends_out=offered.tool.sends_out,
        is_new=not approved,
        has_changed=bool(approved) and offered.digest not in approved,
        carries_untrusted=bool(asked.untrusted),
        was_cut_off=offered.tool.risk is not Risk.READ_ONLY and _was_cut_off(session, caller, offered, asked),
        is_seen_by_others=offered.tool.reads_private and has_other_readers(session, caller.chat_id, caller.payer_id),
    )


def _was_cut_off(session: Session, caller: Caller, offered: OfferedTool, asked: AskedCall) -> bool:
    """Whether of the newest such call in this chat nobody knows if it had its effect."""
    newest = session.execute(
        sa.select(ToolExecution.error_code, ToolExecution.executed_at)
        .where(
            ToolExecution.chat_id == caller.chat_id,
            ToolExecution.tool_name == offered.tool.name,
            ToolExecution.server.is_not_distinct_from(offered.server),
            ToolExecution.arguments_digest == digest_of(asked.arguments),
            ToolExecution.executed_at.is_not(None),
        )
        .order_by(ToolExecution.id.desc())
        .limit(1)
    ).first()
    return newest is not None and newest[0] in UNKNOWN_ENDS


def judge_edited(
    session: Session, call: ToolExecution, arguments: dict[str, Any], estimated: Decimal | None
) -> Decimal:
    """What a call may cost with other arguments. Raises RefusedByRule where a rule or a limit refuses them."""
    assert call.requested_by is not None
    caller = Caller(
        call.chat_id, call.message_id, call.run_id or "", owner_of(session, call.chat_id), call.requested_by
    )
    rules = _rules_of(session, caller)
    cost = cost_to_reserve(estimated, rules)
    spent = spent_on_tools(session, call.requested_by, since=clock.now() - HOUR)
    key = tool_key(call.server, call.tool_name)
    decision = decide(rules, Call(key, call.risk, arguments, call.definition_digest, cost, spent))
    if decision.verdict == "refuse":
        raise RefusedByRule(REFUSALS[decision.reason])
    return cost


def _refused(asked: AskedCall, reason: str) -> dict[str, Any]:
    """Nothing that a rule would have to decide on: the call cannot be."""
    values = _denied(reason, asked.problem or REFUSALS[reason])
    return {"estimated_cost": Decimal(0), "reason": reason} | values


def _denied(reason: str, words: str | None = None) -> dict[str, Any]:
    now = clock.now()
    return {
        "status": ToolStatus.DENIED,
        "decision": DecidedBy.RULE,
        "decided_at": now,
        "completed_at": now,
        "error_code": reason,
        "error_message": words or REFUSALS[reason],
    }


def _insert(session: Session, caller: Caller, step: int, asked: AskedCall, values: dict[str, Any]) -> ToolCallPart:
    offered = asked.offered
    name = offered.tool.name if offered else asked.call.name[:100]
    execution = ToolExecution(
        id=new_id(),
        chat_id=caller.chat_id,
        message_id=caller.message_id,
        run_id=caller.run_id,
        step=step,
        requested_by=caller.payer_id,
        tool_call_id=asked.call.id[:200],
        tool_name=name,
        server=offered.server if offered else None,
        environment=offered.environment if offered else None,
        risk=offered.tool.risk if offered else Risk.HIGH,
        parameters=asked.arguments,
        definition_digest=offered.digest if offered else "",
        arguments_digest=digest_of(asked.arguments),
        untrusted_sources=list(asked.untrusted),
        is_untrusted=not (offered and offered.tool.is_trusted),
        **values,
    )
    session.add(execution)
    session.flush()
    announce_call(session, execution.id, Operation.CREATED, owner_id=caller.owner_id)
    return ToolCallPart(tool_execution_id=execution.id, tool_name=name, server=execution.server)
