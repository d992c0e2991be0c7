"""Record the tool calls that a model proposes. Rules approve or refuse each call, or leave it to the user."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.billing.tool_ledger import spent_on_tools
from tertulia.chat.models import Chat
from tertulia.chat.parts import ToolCallPart
from tertulia.drafts.shared_drafts import has_other_readers
from tertulia.ids import new_id
from tertulia.providers.echo import EchoTarget, ProviderEcho
from tertulia.providers.protocol import ToolCall
from tertulia.realtime.models import Operation
from tertulia.runs.calls.life import APPROVAL_VALID_FOR, HOURLY_LIMIT_MESSAGE, count_calls
from tertulia.runs.calls.reading import announce_call, owner_of
from tertulia.runs.calls.sources import gather_sources
from tertulia.runs.lease import RunRef
from tertulia.tools.errors import RefusedByRule
from tertulia.tools.models import OPEN, DecidedBy, ToolExecution, ToolStatus
from tertulia.tools.policy import Call, Decision, Rules, cost_to_reserve, decide
from tertulia.tools.protocol import OfferedTool, Risk, digest_of, tool_key
from tertulia.tools.provenance import OwnWords, group_sources
from tertulia.tools.rules import HOUR, load_rules

MAX_CALLS = 25  # of one run
# Error codes of calls that may have had their effect, although this was not confirmed.
UNKNOWN_OUTCOME_CODES = ("outcome_unknown", "tool_timeout", "cancelled")
REFUSALS = {
    "unknown_tool": "There is no such tool here.",
    "too_many_calls": f"A reply may call tools {MAX_CALLS} times at most.",
    "never": "A rule of the person refuses this tool.",
    "cost_per_tool": "It may cost more than the person allows for one call.",
    "cost_per_hour": HOURLY_LIMIT_MESSAGE,
}


@dataclass(frozen=True)
class ProposedCall:
    """A call proposed by a model, with what is known before it is decided."""

    call: ToolCall
    offered: OfferedTool | None
    arguments: dict[str, Any]
    problem: str | None = None  # why the call is invalid; sent to the model
    estimated: Decimal | None = None
    destination: str | None = None  # the host that gets the arguments, if the tool depends on one
    is_destination_named: bool = False  # by the person
    echo: ProviderEcho | None = None


def with_destination(call: ProposedCall, own_words: OwnWords) -> ProposedCall:
    """Add the host that a call sends its arguments to, and whether the person named the destination."""
    if call.offered is None or call.problem is not None:
        return call
    tool = call.offered.tool
    host = tool.destination(call.arguments)
    is_named = (
        own_words.name_host(host) if host is not None else own_words.name_destination(call.arguments, tool.parameters)
    )
    return replace(call, destination=host, is_destination_named=is_named)


def with_echo(calls: Sequence[ProposedCall], target: EchoTarget, turn: object) -> list[ProposedCall]:
    """Add to each call what the vendor requires back with it; to the first, also what it requires with the turn."""
    return [
        replace(call, echo=target.mark(None if number else turn, call.call.echo)) for number, call in enumerate(calls)
    ]


def record_calls(session: Session, run_ref: RunRef, step: int, proposed: Sequence[ProposedCall]) -> list[ToolCallPart]:
    """Record proposed calls, each decided by the rules or left pending, and return their message parts.

    Calls above a run's limit are refused, which stops a model that never ends. The caller holds the payer's row lock.
    """
    rules = _rules_of(session, run_ref.chat_id, owner_id=run_ref.owner_id, payer_id=run_ref.payer_id)
    spent = spent_on_tools(session, run_ref.payer_id, since=clock.now() - HOUR)
    before = count_calls(session, run_ref.run_id)
    sources = gather_sources(session, run_ref)
    parts = []
    for number, call in enumerate(proposed, start=before + 1):
        values = (
            _decided_values(session, run_ref, rules, spent, call, has_read=bool(sources))
            if number <= MAX_CALLS
            else _refused(call, "too_many_calls")
        )
        if values["status"] in OPEN:
            spent += values["estimated_cost"]
        parts.append(_insert(session, run_ref, step, call, values | {"sources": group_sources(sources)}))
    return parts


def _rules_of(session: Session, chat_id: str, *, owner_id: str, payer_id: str) -> Rules:
    rules = load_rules(session, payer_id)
    if payer_id != owner_id:
        return rules  # the rules of a chat apply only to its owner's runs
    return rules.in_chat(session.scalars(sa.select(Chat.auto_approval).where(Chat.id == chat_id)).one())


def _decided_values(
    session: Session, run_ref: RunRef, rules: Rules, spent: Decimal, proposed: ProposedCall, *, has_read: bool
) -> dict[str, Any]:
    if proposed.offered is None or proposed.problem is not None:
        return _refused(proposed, "unknown_tool" if proposed.offered is None else "arguments_invalid")
    cost = cost_to_reserve(proposed.estimated, rules)
    call = _as_call(session, run_ref, proposed, proposed.offered, cost, spent)
    decision = decide(rules, replace(call, has_read=has_read))
    values: dict[str, Any] = {"estimated_cost": cost, "reason": decision.reason}
    now = clock.now()
    match decision:
        case Decision("run"):
            approved = {"status": ToolStatus.APPROVED, "approved_at": now}
            return values | approved | {"decision": DecidedBy.RULE, "decided_at": now}
        case Decision("refuse"):
            return values | _denied(decision.reason)
        case _:
            pending = {"approval_requested_at": now, "expires_at": now + APPROVAL_VALID_FOR}
            return values | {"status": ToolStatus.PENDING} | pending


def _as_call(
    session: Session, run_ref: RunRef, proposed: ProposedCall, offered: OfferedTool, cost: Decimal, spent: Decimal
) -> Call:
    approved = session.scalars(
        sa.select(ToolExecution.definition_digest)
        .where(
            ToolExecution.requested_by == run_ref.payer_id,
            ToolExecution.tool_name == offered.tool.name,
            ToolExecution.server.is_not_distinct_from(offered.server),
            ToolExecution.decision == DecidedBy.PERSON,
            ToolExecution.approved_at.is_not(None),
        )
        .distinct()
    ).all()
    return Call(
        key=offered.key,
        risk=_risk_of(proposed, offered),
        arguments=proposed.arguments,
        definition_digest=offered.digest,
        cost=cost,
        spent=spent,
        sends_out=offered.tool.sends_out,
        is_new=not approved,
        has_changed=bool(approved) and offered.digest not in approved,
        is_destination_named=proposed.is_destination_named,
        has_host=proposed.destination is not None,
        was_cut_off=offered.tool.risk is not Risk.READ_ONLY
        and _had_unknown_outcome(session, run_ref, offered, proposed),
        is_seen_by_others=offered.tool.reads_private and has_other_readers(session, run_ref.chat_id, run_ref.payer_id),
    )


def _risk_of(proposed: ProposedCall, offered: OfferedTool) -> Risk:
    """Return the tool's risk, or high risk if the call goes to a host that the person did not name."""
    is_unnamed = proposed.destination is not None and not proposed.is_destination_named
    return Risk.HIGH if is_unnamed else offered.tool.risk


def _had_unknown_outcome(session: Session, run_ref: RunRef, offered: OfferedTool, proposed: ProposedCall) -> bool:
    """Return whether the newest identical call in this chat ended with an unknown outcome."""
    newest = session.execute(
        sa.select(ToolExecution.error_code, ToolExecution.executed_at)
        .where(
            ToolExecution.chat_id == run_ref.chat_id,
            ToolExecution.tool_name == offered.tool.name,
            ToolExecution.server.is_not_distinct_from(offered.server),
            ToolExecution.arguments_digest == digest_of(proposed.arguments),
            ToolExecution.executed_at.is_not(None),
        )
        .order_by(ToolExecution.id.desc())
        .limit(1)
    ).first()
    return newest is not None and newest[0] in UNKNOWN_OUTCOME_CODES


def check_edited_arguments(
    session: Session, call: ToolExecution, arguments: dict[str, Any], estimated: Decimal | None
) -> Decimal:
    """Return the cost to reserve for edited arguments. Raises RefusedByRule if a rule or a limit refuses them."""
    assert call.requested_by is not None
    rules = _rules_of(session, call.chat_id, owner_id=owner_of(session, call.chat_id), payer_id=call.requested_by)
    cost = cost_to_reserve(estimated, rules)
    spent = spent_on_tools(session, call.requested_by, since=clock.now() - HOUR)
    key = tool_key(call.server, call.tool_name)
    decision = decide(rules, Call(key, call.risk, arguments, call.definition_digest, cost, spent))
    if decision.verdict == "refuse":
        raise RefusedByRule(REFUSALS[decision.reason])
    return cost


def _refused(proposed: ProposedCall, reason: str) -> dict[str, Any]:
    """Return the column values of a call that is denied without applying rules, because it cannot be executed."""
    values = _denied(reason, proposed.problem or REFUSALS[reason])
    return {"estimated_cost": Decimal(0), "reason": reason} | values


def _denied(reason: str, message: str | None = None) -> dict[str, Any]:
    now = clock.now()
    return {
        "status": ToolStatus.DENIED,
        "decision": DecidedBy.RULE,
        "decided_at": now,
        "completed_at": now,
        "error_code": reason,
        "error_message": message or REFUSALS[reason],
    }


def _insert(
    session: Session, run_ref: RunRef, step: int, proposed: ProposedCall, values: dict[str, Any]
) -> ToolCallPart:
    offered = proposed.offered
    name = offered.tool.name if offered else proposed.call.name[:100]
    execution = ToolExecution(
        id=new_id(),
        chat_id=run_ref.chat_id,
        message_id=run_ref.message_id,
        run_id=run_ref.run_id,
        step=step,
        requested_by=run_ref.payer_id,
        tool_call_id=proposed.call.id[:200],
        tool_name=name,
        server=offered.server if offered else None,
        environment=offered.environment if offered else None,
        risk=_risk_of(proposed, offered) if offered else Risk.HIGH,
        parameters=proposed.arguments,
        definition_digest=offered.digest if offered else "",
        arguments_digest=digest_of(proposed.arguments),
        result_sources=offered.default_sources if offered else [],
        echo=proposed.echo,
        is_untrusted=not (offered and offered.tool.is_trusted),
        **values,
    )
    session.add(execution)
    session.flush()
    announce_call(session, execution.id, Operation.CREATED, owner_id=run_ref.owner_id)
    return ToolCallPart(tool_execution_id=execution.id, tool_name=name, server=execution.server)
