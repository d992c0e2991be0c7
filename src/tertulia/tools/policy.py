"""Decide whether a call runs, needs approval or is refused. Pure functions of the rules and the call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import orjson

from tertulia.tools.models import ChatApproval, ToolRule, ToolRules
from tertulia.tools.patterns import matches
from tertulia.tools.protocol import Risk
from tertulia.tools.provenance import pattern_names_destination

Verdict = Literal["run", "ask", "refuse"]
Reason = Literal[
    "never",  # a rule refuses this tool
    "cost_per_tool",  # above the limit per call
    "cost_per_hour",  # above what is left of the hourly limit
    "asked_by_rule",  # a rule requires approval for this tool
    "outcome_unknown",  # the same call was interrupted before, and may have taken effect
    "seen_by_others",  # it reads private data of the person, and others can read the chat
    "untrusted",  # the run has read untrusted or private content, and this call can send it out
    "changed",  # the tool's definition is not the one that was allowed
    "new",  # the person has never approved this tool
    "not_allowed",  # no rule allows it
    "allowed",  # a rule allows this tool
    "read_only",  # read-only tools run automatically
    "low_risk",  # low-risk tools run automatically
]


@dataclass(frozen=True)
class Rules:
    """A person's approval rules. `specific_tools` lists the rules of the chat before those of the account."""

    read_only_operations: bool
    low_risk_operations: bool
    specific_tools: Sequence[ToolRules]
    max_cost_per_tool: Decimal
    max_cost_per_hour: Decimal
    require_approval_for_new_tools: bool

    def in_chat(self, chat: ChatApproval | None) -> "Rules":
        if chat is None:
            return self
        read_only, low, new = (
            chat.read_only_operations,
            chat.low_risk_operations,
            chat.require_approval_for_new_tools,
        )
        per_tool = chat.max_cost_per_tool
        return Rules(
            self.read_only_operations if read_only is None else read_only,
            self.low_risk_operations if low is None else low,
            (chat.specific_tools, *self.specific_tools),
            # A chat can only lower the limit per call. The hourly limit is one sum over all chats.
            self.max_cost_per_tool if per_tool is None else min(per_tool, self.max_cost_per_tool),
            self.max_cost_per_hour,
            self.require_approval_for_new_tools if new is None else new,
        )


@dataclass(frozen=True)
class Call:
    """The facts about a call that the rules use. A server's claims about its safety are not among them."""

    key: str
    risk: Risk
    arguments: Mapping[str, Any]
    definition_digest: str
    cost: Decimal  # highest possible cost, in US dollars
    spent: Decimal = Decimal(0)  # of the hourly limit, in US dollars
    sends_out: bool = True
    is_new: bool = True  # the person has not approved a call of this tool yet
    has_changed: bool = False  # they approved one with a different definition
    has_read: bool = False  # the run has read something untrusted, or private beyond this chat
    is_destination_named: bool = False  # the person wrote where it sends its arguments
    has_host: bool = False  # it sends its arguments to a host that is one of them
    was_cut_off: bool = False
    is_seen_by_others: bool = False  # it reads private data of the person, and others can read the chat


@dataclass(frozen=True)
class Decision:
    verdict: Verdict
    reason: Reason


def decide(rules: Rules, call: Call) -> Decision:
    """Return the first decision that applies: refusals, required approvals, permissions. The default is to ask."""
    matching = _matching(rules, call)
    if matching is not None and matching.rule == "never":
        return Decision("refuse", "never")
    if call.cost > rules.max_cost_per_tool:
        return Decision("refuse", "cost_per_tool")
    if call.spent + call.cost > rules.max_cost_per_hour:
        return Decision("refuse", "cost_per_hour")
    if matching is not None and matching.rule == "ask":
        return Decision("ask", "asked_by_rule")
    if call.was_cut_off:
        return Decision("ask", "outcome_unknown")
    if call.is_seen_by_others:
        return Decision("ask", "seen_by_others")
    if call.has_read and call.sends_out and not (call.is_destination_named or _names_destination(matching, call)):
        return Decision("ask", "untrusted")
    if matching is not None and matching.definition_digest == call.definition_digest:
        return Decision("run", "allowed")
    if call.has_changed or matching is not None:
        return Decision("ask", "changed")
    if call.is_new and rules.require_approval_for_new_tools:
        return Decision("ask", "new")
    if call.risk is Risk.READ_ONLY and rules.read_only_operations:
        return Decision("run", "read_only")
    if call.risk is not Risk.HIGH and rules.low_risk_operations:
        return Decision("run", "low_risk")
    return Decision("ask", "not_allowed")


def _names_destination(rule: ToolRule | None, call: Call) -> bool:
    return rule is not None and any(
        pattern_names_destination(name, pattern, has_host=call.has_host) for name, pattern in rule.arguments.items()
    )


def cost_to_reserve(estimated: Decimal | None, rules: Rules) -> Decimal:
    """Return the cost to reserve before a call runs. An unknown or invalid estimate counts as the limit per call."""
    if estimated is None or not estimated.is_finite() or estimated < 0:
        return rules.max_cost_per_tool
    return estimated


def _matching(rules: Rules, call: Call) -> ToolRule | None:
    """Return the rule that applies: any matching `never`, else the first match, chat rules before account rules."""
    candidates = [
        rule for tools in rules.specific_tools for rule in tools.get(call.key, ()) if _fits(rule, call.arguments)
    ]
    return next((rule for rule in candidates if rule.rule == "never"), candidates[0] if candidates else None)


def _fits(rule: ToolRule, arguments: Mapping[str, Any]) -> bool:
    return all(
        name in arguments and matches(pattern, _as_text(arguments[name]), refuses=rule.rule != "allow")
        for name, pattern in rule.arguments.items()
    )


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
