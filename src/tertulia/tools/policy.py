"""Whether a call runs, asks or is refused. A pure function: the rules and the call go in, a verdict with its reason comes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import orjson

from tertulia.tools.models import ChatApproval, ToolRule, ToolRules
from tertulia.tools.patterns import matches
from tertulia.tools.protocol import Risk

Verdict = Literal["run", "ask", "refuse"]
Reason = Literal[
    "never",  # a rule of the person refuses this tool
    "cost_per_tool",  # dearer than one call may be
    "cost_per_hour",  # dearer than what is left of the hour's limit
    "asked_by_rule",  # a rule says to ask about this tool
    "outcome_unknown",  # the same call was cut off before, and may have had its effect
    "seen_by_others",  # it reads what is the person's own, and others read the chat
    "untrusted",  # its arguments carry somebody else's words, and it can send them out
    "changed",  # the tool is not what was allowed
    "new",  # the person never approved this tool
    "not_allowed",  # no rule lets it run
    "allowed",  # a rule of the person allows this tool
    "read_only",  # read-only tools may run
    "low_risk",  # tools of low risk may run
]


@dataclass(frozen=True)
class Rules:
    """What a person lets happen, the chat's own rules before those for everywhere."""

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
            # A chat narrows what calls may cost; what a person may spend an hour is one sum over all chats.
            self.max_cost_per_tool if per_tool is None else min(per_tool, self.max_cost_per_tool),
            self.max_cost_per_hour,
            self.require_approval_for_new_tools if new is None else new,
        )


@dataclass(frozen=True)
class Call:
    """What the rules look at. Nothing in it is what a server says of its own harmlessness."""

    key: str
    risk: Risk
    arguments: Mapping[str, Any]
    definition_digest: str
    cost: Decimal  # the highest that it may be, in US dollars
    spent: Decimal = Decimal(0)  # of this hour's limit
    sends_out: bool = True
    is_new: bool = True  # the person approved no call of this tool yet
    has_changed: bool = False  # they approved one when it was described otherwise
    carries_untrusted: bool = False
    was_cut_off: bool = False
    is_seen_by_others: bool = False  # it reads what is the person's own, and others read the chat


@dataclass(frozen=True)
class Decision:
    verdict: Verdict
    reason: Reason


def decide(rules: Rules, call: Call) -> Decision:
    """Refusals first, then what must be asked about whatever is allowed, then what is allowed; the rest is asked."""
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
    if call.carries_untrusted and call.sends_out:
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


def cost_to_reserve(estimated: Decimal | None, rules: Rules) -> Decimal:
    """What a call counts as before it has run: one whose cost nobody knows, or that says something absurd, as the limit."""
    if estimated is None or not estimated.is_finite() or estimated < 0:
        return rules.max_cost_per_tool
    return estimated


def _matching(rules: Rules, call: Call) -> ToolRule | None:
    """A `never` anywhere wins; else the first that matches, of the chat and then of everywhere."""
    found = [rule for tools in rules.specific_tools for rule in tools.get(call.key, ()) if _fits(rule, call.arguments)]
    return next((rule for rule in found if rule.rule == "never"), found[0] if found else None)


def _fits(rule: ToolRule, arguments: Mapping[str, Any]) -> bool:
    return all(
        name in arguments and matches(pattern, _as_text(arguments[name]), refuses=rule.rule != "allow")
        for name, pattern in rule.arguments.items()
    )


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
