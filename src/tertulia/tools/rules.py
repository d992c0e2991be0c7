"""A person's automatic approval settings: load them, replace them, and add remembered approvals."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor, require_session
from tertulia.billing.tool_ledger import spent_on_tools
from tertulia.db import insert_if_absent
from tertulia.ids import UserId, new_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish
from tertulia.tools.errors import TooManyRules
from tertulia.tools.events import AUTO_APPROVAL_SETTING
from tertulia.tools.models import MAX_COST_PER_HOUR, MAX_COST_PER_TOOL, AutoApprovalSetting, ToolRule, ToolRules
from tertulia.tools.policy import Rules
from tertulia.tools.schemas import MAX_RULES, AutoApprovalRead, AutoApprovalUpdate

HOUR = timedelta(hours=1)
MAX_RULES_OF_A_TOOL = 50
DEFAULTS = Rules(False, False, (), MAX_COST_PER_TOOL, MAX_COST_PER_HOUR, True)


def load_rules(session: Session, user_id: str) -> Rules:
    """Return the person's account-wide rules, or the cautious defaults if none are stored."""
    row = _find(session, user_id)
    if row is None:
        return DEFAULTS
    return Rules(
        row.read_only_operations,
        row.low_risk_operations,
        (row.specific_tools,),
        row.max_cost_per_tool,
        row.max_cost_per_hour,
        row.require_approval_for_new_tools,
    )


def get_auto_approval(session: Session, actor: Actor) -> AutoApprovalRead:
    row = _find(session, actor.user_id)
    spent = spent_on_tools(session, actor.user_id, since=clock.now() - HOUR)
    return _read(row, spent)


LoadDigests = Callable[[Session, Actor], Mapping[str, str]]


def put_auto_approval(
    session: Session, actor: Actor, update: AutoApprovalUpdate, load_digests: LoadDigests
) -> AutoApprovalRead:
    """Replace the settings. Each new `allow` is bound to the tool's current definition, which `load_digests` gives by tool key."""
    require_session(actor)
    check_size(update.specific_tools)
    update = update.model_copy(
        update={"specific_tools": as_described(update.specific_tools, load_digests(session, actor))}
    )
    _ensure(session, actor.user_id)
    session.execute(
        sa.update(AutoApprovalSetting)
        .where(AutoApprovalSetting.user_id == actor.user_id)
        .values({name: getattr(update, name) for name in AutoApprovalUpdate.model_fields})
    )
    session.expire_all()
    return _announce(session, actor.user_id)


def remember_always(session: Session, actor: Actor, key: str, digest: str) -> None:
    """Allow this tool for this person from now on, with its current definition."""
    _ensure(session, actor.user_id)
    row = _find(session, actor.user_id, lock=True)
    assert row is not None
    row.specific_tools = with_allowed(row.specific_tools, key, digest)
    session.flush()
    _announce(session, actor.user_id)


def with_allowed(rules: ToolRules, key: str, digest: str) -> ToolRules:
    """Return the rules with one more that allows the tool with its current definition. Raises TooManyRules.

    It replaces `allow` and `ask` rules that cover all calls of the tool.
    """
    others = [rule for rule in rules.get(key, []) if rule.rule == "never" or rule.arguments]
    extended = {**rules, key: [*others, ToolRule(rule="allow", definition_digest=digest)]}
    check_size(extended)
    return extended


def as_described(rules: ToolRules, digests: Mapping[str, str]) -> ToolRules:
    """Bind each new `allow` rule to the tool's current definition. A rule for a missing tool asks for approval."""
    return {
        key: [
            rule.model_copy(update={"definition_digest": digests.get(key)})
            if rule.rule == "allow" and rule.definition_digest is None
            else rule
            for rule in tool_rules
        ]
        for key, tool_rules in rules.items()
    }


def check_size(rules: ToolRules) -> None:
    if len(rules) > MAX_RULES:
        raise TooManyRules(MAX_RULES)
    if any(len(tool_rules) > MAX_RULES_OF_A_TOOL for tool_rules in rules.values()):
        raise TooManyRules(MAX_RULES_OF_A_TOOL)


def _find(session: Session, user_id: str, *, lock: bool = False) -> AutoApprovalSetting | None:
    query = sa.select(AutoApprovalSetting).where(AutoApprovalSetting.user_id == user_id)
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def _ensure(session: Session, user_id: UserId) -> None:
    now = clock.now()
    insert_if_absent(
        session,
        AutoApprovalSetting,
        id=new_id(),
        user_id=user_id,
        read_only_operations=False,
        low_risk_operations=False,
        specific_tools={},
        max_cost_per_tool=MAX_COST_PER_TOOL,
        max_cost_per_hour=MAX_COST_PER_HOUR,
        require_approval_for_new_tools=True,
        created_at=now,
        updated_at=now,
    )


def _announce(session: Session, user_id: str) -> AutoApprovalRead:
    row = _find(session, user_id)
    assert row is not None
    read = _read(row, spent_on_tools(session, user_id, since=clock.now() - HOUR))
    publish(
        session,
        owner_id=user_id,
        topic=f"user:{user_id}",
        entity=AUTO_APPROVAL_SETTING,
        entity_id=row.id,
        operation=Operation.UPDATED,
        payload=read,
    )
    return read


def _read(row: AutoApprovalSetting | None, spent: Decimal) -> AutoApprovalRead:
    return {
        "read_only_operations": row.read_only_operations if row else False,
        "low_risk_operations": row.low_risk_operations if row else False,
        "specific_tools": read_rules(row.specific_tools if row else {}),
        "max_cost_per_tool": row.max_cost_per_tool if row else MAX_COST_PER_TOOL,
        "max_cost_per_hour": row.max_cost_per_hour if row else MAX_COST_PER_HOUR,
        "require_approval_for_new_tools": row.require_approval_for_new_tools if row else True,
        "spent_this_hour": spent,
        "updated_at": row.updated_at if row else None,
    }


def read_rules(rules: ToolRules) -> dict[str, list[dict[str, object]]]:
    return {key: [rule.model_dump(exclude_none=True) for rule in tool_rules] for key, tool_rules in rules.items()}
