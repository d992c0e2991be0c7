"""Test the approval policy: all rule sets against all kinds of calls, argument patterns and cost limits."""

from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tertulia.tools.models import ChatApproval, ToolRule
from tertulia.tools.patterns import matches
from tertulia.tools.policy import Call, Decision, Rules, cost_to_reserve, decide
from tertulia.tools.protocol import Risk
from tertulia.tools.provenance import OwnWords, pattern_names_destination

KEY, DIGEST = "files/write", "d" * 64
SAFE = Rules(False, False, (), Decimal("1.00"), Decimal("10.00"), True)


def call(**changes: Any) -> Call:
    defaults: dict[str, Any] = {
        "key": KEY,
        "risk": Risk.HIGH,
        "arguments": {"path": "/notes/a.txt", "count": 3},
        "definition_digest": DIGEST,
        "cost": Decimal(0),
    }
    return Call(**(defaults | changes))


def rules(*specific: ToolRule, **changes: Any) -> Rules:
    named = {"specific_tools": ({KEY: list(specific)},)} if specific else {}
    return Rules(**(vars(SAFE) | named | changes))


ALLOW = ToolRule(rule="allow", definition_digest=DIGEST)
ASK, NEVER = ToolRule(rule="ask"), ToolRule(rule="never")
NOTES = ToolRule(rule="allow", arguments={"path": "/notes/*"}, definition_digest=DIGEST)
ANYWHERE = ToolRule(rule="allow", arguments={"path": "*"}, definition_digest=DIGEST)
KNOWN = {"is_new": False}


@pytest.mark.parametrize(
    ("rule_set", "proposed", "expected"),
    [
        # The defaults: nothing runs automatically.
        (SAFE, call(), Decision("ask", "new")),
        (SAFE, call(**KNOWN), Decision("ask", "not_allowed")),
        (SAFE, call(risk=Risk.READ_ONLY), Decision("ask", "new")),
        (SAFE, call(risk=Risk.READ_ONLY, **KNOWN), Decision("ask", "not_allowed")),
        # By risk.
        (rules(read_only_operations=True), call(risk=Risk.READ_ONLY, **KNOWN), Decision("run", "read_only")),
        (rules(read_only_operations=True), call(risk=Risk.LOW, **KNOWN), Decision("ask", "not_allowed")),
        (rules(read_only_operations=True), call(risk=Risk.READ_ONLY), Decision("ask", "new")),
        (rules(low_risk_operations=True), call(risk=Risk.LOW, **KNOWN), Decision("run", "low_risk")),
        (rules(low_risk_operations=True), call(risk=Risk.READ_ONLY, **KNOWN), Decision("run", "low_risk")),
        (
            rules(low_risk_operations=True, read_only_operations=True),
            call(**KNOWN),
            Decision("ask", "not_allowed"),
        ),
        (
            rules(read_only_operations=True, require_approval_for_new_tools=False),
            call(risk=Risk.READ_ONLY),
            Decision("run", "read_only"),
        ),
        # By tool.
        (rules(ALLOW), call(), Decision("run", "allowed")),
        (rules(ToolRule(rule="allow")), call(), Decision("ask", "changed")),  # set before the tool existed
        (rules(ALLOW), call(definition_digest="e" * 64), Decision("ask", "changed")),
        (rules(ASK, read_only_operations=True), call(risk=Risk.READ_ONLY, **KNOWN), Decision("ask", "asked_by_rule")),
        (rules(NEVER), call(), Decision("refuse", "never")),
        (rules(ALLOW, NEVER), call(), Decision("refuse", "never")),
        (rules(ALLOW), call(key="files/read"), Decision("ask", "new")),
        (rules(), call(has_changed=True, **KNOWN), Decision("ask", "changed")),
        (
            rules(read_only_operations=True),
            call(risk=Risk.READ_ONLY, has_changed=True, **KNOWN),
            Decision("ask", "changed"),
        ),
        # By argument.
        (rules(NOTES), call(), Decision("run", "allowed")),
        (rules(NOTES), call(arguments={"path": "/etc/passwd"}), Decision("ask", "new")),
        (rules(NOTES), call(arguments={}), Decision("ask", "new")),
        (rules(NOTES), call(arguments={"path": ["/notes/a"]}), Decision("ask", "new")),
        (
            rules(ToolRule(rule="allow", arguments={"count": "3"}, definition_digest=DIGEST)),
            call(),
            Decision("run", "allowed"),
        ),
        (rules(ToolRule(rule="never", arguments={"path": "*.txt"}), NOTES), call(), Decision("refuse", "never")),
        (rules(ToolRule(rule="ask", arguments={"path": "/notes/a*"}), NOTES), call(), Decision("ask", "asked_by_rule")),
        (rules(ToolRule(rule="allow", arguments={"path": "[/]*"})), call(), Decision("ask", "new")),
        # By cost.
        (rules(ALLOW), call(cost=Decimal("1.00")), Decision("run", "allowed")),
        (rules(ALLOW), call(cost=Decimal("1.000001")), Decision("refuse", "cost_per_tool")),
        (rules(ALLOW), call(cost=Decimal("0.50"), spent=Decimal("9.50")), Decision("run", "allowed")),
        (rules(ALLOW), call(cost=Decimal("0.50"), spent=Decimal("9.500001")), Decision("refuse", "cost_per_hour")),
        (rules(ALLOW, max_cost_per_tool=Decimal(0)), call(), Decision("run", "allowed")),
        (rules(NEVER), call(cost=Decimal(5)), Decision("refuse", "never")),
        # These need approval regardless of the rules.
        (rules(ALLOW), call(was_cut_off=True), Decision("ask", "outcome_unknown")),
        (rules(ALLOW), call(has_read=True), Decision("ask", "untrusted")),
        (rules(ALLOW), call(has_read=True, sends_out=False), Decision("run", "allowed")),
        (rules(ALLOW), call(has_read=True, is_destination_named=True), Decision("run", "allowed")),
        (rules(NOTES), call(has_read=True), Decision("run", "allowed")),  # the rule names the destination
        (rules(ANYWHERE), call(has_read=True), Decision("ask", "untrusted")),
    ],
)
def test_each_rule_set_and_call_gives_the_expected_decision(
    rule_set: Rules, proposed: Call, expected: Decision
) -> None:
    assert decide(rule_set, proposed) == expected


@pytest.mark.parametrize(
    ("kind", "path", "verdict"),
    [
        ("allow", "/notes/a", "run"),
        ("allow", "/NOTES/a", "ask"),  # an allowing pattern is exact
        ("never", "/notes/a", "refuse"),
        ("never", "/NOTES/a", "refuse"),  # a refusing one is broad
        ("never", "/other/a", "ask"),
    ],
)
def test_a_rule_matches_exactly_if_it_allows_and_broadly_if_it_refuses(kind: Any, path: str, verdict: str) -> None:
    rule = ToolRule(rule=kind, arguments={"path": "/notes/*"}, definition_digest=DIGEST)
    assert decide(rules(rule), call(arguments={"path": path})).verdict == verdict
    assert decide(rules(rule), call(arguments={})).verdict == "ask"


@pytest.mark.parametrize(
    ("name", "pattern", "has_host", "names"),
    [
        ("to", "bob@example.com", False, True),
        ("to", "*@example.com", False, True),
        ("to", "*bob*", False, False),
        ("to", "*", False, False),
        ("to", "b*", False, False),
        ("to", "bob*", False, True),
        ("to", "https*", False, False),
        ("to", "https:/", False, True),
        ("note", "bob", False, False),
        ("note", "bob@example.com", False, True),
        ("to", "bob@example.com", True, False),  # the host decides
        ("url", "https://example.com/*", True, True),
        ("url", "https://*.example.com/*", True, False),
        ("url", "https://example.com*", True, True),
        ("url", "https://localhost/*", True, True),
        ("url", "https://intranet/*", True, False),
    ],
)
def test_a_pattern_names_a_destination_if_no_star_can_change_it(
    name: str, pattern: str, has_host: bool, names: bool
) -> None:
    assert pattern_names_destination(name, pattern, has_host=has_host) is names


@pytest.mark.parametrize(
    ("arguments", "is_named"),
    [
        ({"url": "https://a.example/x"}, True),
        ({"url": "https://b.example/x"}, False),
        ({"text": "see https://a.example/x. Thanks", "to": "bob@example.com"}, True),
        ({"text": "see https://b.example/x", "to": "bob@example.com"}, False),
        ({"text": "tell eve@example.com", "to": "bob@example.com"}, False),
        ({"to": "bob@example.com"}, True),
        ({"to": "eve@example.com"}, False),
        ({"to": "Bob"}, True),
        ({"to": "Eve"}, False),
        ({"text": "some long text", "to": "Bob"}, False),  # the text is not the person's
        ({"text": "the green one"}, True),
        ({"text": "the green two"}, False),
        ({"mode": "fast", "to": "bob@example.com"}, True),  # a value that the schema lists
        ({"mode": "other", "to": "bob@example.com"}, False),
        ({"channel": "Bob"}, False),  # the name of an argument that the schema lacks can carry data
        ({}, False),
        ({"to": " "}, False),
    ],
)
def test_a_destination_is_named_if_the_person_wrote_it(arguments: dict[str, Any], is_named: bool) -> None:
    words = OwnWords.of(["Post the green one to https://a.example/x, and tell Bob (bob@example.com)."])
    schema = {"type": "object", "properties": {"mode": {"enum": ["fast", "slow"]}, "url": {}, "text": {}, "to": {}}}
    assert words.name_destination(arguments, schema) is is_named


def test_rules_of_a_chat_override_global_rules_except_never() -> None:
    everywhere = rules(ToolRule(rule="ask"))
    here = ChatApproval(specific_tools={KEY: [ALLOW]})
    assert decide(everywhere.in_chat(here), call()) == Decision("run", "allowed")
    assert decide(rules(NEVER).in_chat(here), call()) == Decision("refuse", "never")
    relaxed = SAFE.in_chat(ChatApproval(read_only_operations=True))
    assert decide(relaxed, call(risk=Risk.READ_ONLY, **KNOWN)).verdict == "run"
    strict = rules(read_only_operations=True).in_chat(ChatApproval(read_only_operations=False))
    assert decide(strict, call(risk=Risk.READ_ONLY, **KNOWN)).verdict == "ask"
    assert SAFE.in_chat(None) == SAFE


SWITCHES = ("read_only_operations", "low_risk_operations", "require_approval_for_new_tools")
SPECIFIC: list[tuple[ToolRule, ...]] = [(), (ALLOW,), (ASK,), (NEVER,), (NOTES,), (NOTES, ASK), (ALLOW, NEVER)]


def test_no_combination_of_settings_runs_a_call_that_is_not_allowed() -> None:
    """Check the whole truth table against the rules as users read them."""
    count = 0
    for values in product([False, True], repeat=3):
        for specific in SPECIFIC:
            rule_set = rules(*specific, **dict(zip(SWITCHES, values, strict=True)))
            for risk, new, changed, has_read, named, out, cut in product(Risk, *[[False, True]] * 6):
                proposed = call(
                    risk=risk,
                    is_new=new,
                    has_changed=changed,
                    has_read=has_read,
                    is_destination_named=named,
                    sends_out=out,
                    was_cut_off=cut,
                )
                decision = decide(rule_set, proposed)
                count += 1
                kinds = [rule.rule for rule in specific]
                if "never" in kinds:
                    assert decision.verdict == "refuse"
                    continue
                assert decision.verdict != "refuse"
                if decision.verdict == "run":
                    allowed = bool(kinds) and kinds[0] == "allow"
                    by_risk = (risk is Risk.READ_ONLY and rule_set.read_only_operations) or (
                        risk is not Risk.HIGH and rule_set.low_risk_operations
                    )
                    is_known = not changed and not (new and rule_set.require_approval_for_new_tools)
                    assert allowed or (by_risk and is_known)
                    assert not cut
                    by_rule = bool(specific) and specific[0] is NOTES
                    assert not (has_read and out) or named or by_rule
    assert count == 8 * len(SPECIFIC) * 3 * 64


@pytest.mark.parametrize("cost", [None, Decimal("-1"), Decimal("NaN"), Decimal("Infinity"), Decimal("-Infinity")])
def test_an_unknown_cost_reserves_the_limit(cost: Decimal | None) -> None:
    assert cost_to_reserve(cost, SAFE) == Decimal("1.00")
    assert cost_to_reserve(Decimal("0.25"), SAFE) == Decimal("0.25")


@example(pattern="ab*ba", text="abba")
@example(pattern="ab*ba", text="aba")
@example(pattern="a*", text="a")
@given(pattern=st.text("ab*.[", max_size=12), text=st.text("ab.[", max_size=12))
def test_a_star_matches_any_text_and_other_characters_are_literal(pattern: str, text: str) -> None:
    rule_set = rules(ToolRule(rule="allow", arguments={"path": pattern}, definition_digest=DIGEST))
    runs = decide(rule_set, call(arguments={"path": text})).verdict == "run"

    def matches(rest: str, tail: str) -> bool:
        if not rest:
            return not tail
        if rest[0] == "*":
            return any(matches(rest[1:], tail[at:]) for at in range(len(tail) + 1))
        return tail[:1] == rest[0] and matches(rest[1:], tail[1:])

    leaves = text == ".." and "*" in pattern and pattern.strip("*") != ""  # leaves the folder of the pattern
    assert runs == (matches(pattern, text) and not leaves)


def test_matching_many_stars_against_a_long_text_ends() -> None:
    """Match quickly, so that no pattern or argument blocks the server."""
    rule_set = rules(ToolRule(rule="allow", arguments={"path": "*a" * 90 + "*b"}, definition_digest=DIGEST))
    assert decide(rule_set, call(arguments={"path": "a" * 60_000})).verdict == "ask"


@pytest.mark.parametrize(
    ("pattern", "text", "allowed", "refused"),
    [
        ("https://docs.python.org/*", "https://docs.python.org/3/library", True, True),
        ("https://docs.python.org/*", "https://DOCS.python.org:443/3", True, True),  # the same address
        ("https://docs.python.org/*", "https://docs.python.org.evil.example/3", False, False),
        (
            "https://docs.python.org/*",
            "https://docs.python.org@evil.example/3",
            False,
            True,
        ),  # misleading: refused, never allowed
        ("https://docs.python.org/*", "https://docs.python.org\\@evil.example/", False, True),
        ("https://*.python.org/*", "https://evil.example/?a=.python.org/", False, True),
        ("https://*.python.org/*", "https://docs.python.org/3", True, True),
        ("https://docs.python.org/3/*", "https://docs.python.org/3/../2/x", False, True),
        ("https://docs.python.org/3/*", "https://docs.python.org/3/%2e%2e/2/x", False, True),
        ("https://evil.example/*", "https://EVIL.example./a", True, True),
        ("http://evil.example/*", "https://evil.example/a", False, False),
        ("http://evil.example:8080/*", "http://evil.example/a", False, False),
        ("https://*", "https://evil.example/steal?x", True, True),
        ("https://evil.example*", "https://evil.example/a", True, True),
        ("https://example.com*", "https://example.com.evil.example/", False, True),  # refused as a possible meaning
        ("https://evil.example:*/*", "https://evil.example:8443/a", True, True),
        ("http://[::1]/*", "http://[::1]/a", True, True),
        ("https://evil.example/*", "ht\ttps://evil.example/a", False, True),
        ("https://evil.example/*", "https:/evil.example/a", False, True),
        ("https://evil.example", "https://evil.example/any/page", False, True),
        ("/srv/notes/*", "/srv/notes/a.txt", True, True),
        ("/srv/notes/*", "/srv/notes/../../etc/passwd", False, True),
        ("/etc/*", "/srv/../etc/passwd", False, True),
        ("*secret*", "the SECRET plan", False, True),
        ("*", "anything at all", True, True),
        ("HTTPS://docs.python.org/*", "https://docs.python.org/3", True, True),
        ("https://docs.python.org/*", "HTTPS://docs.python.org/3", True, True),
        ("https://docs.python.org/a\n*", "https://docs.python.org/a\nb", False, True),
        ("exact", "exact", True, True),
        ("exact", "exactly", False, False),
    ],
)
def test_a_pattern_allows_strictly_and_refuses_broadly(pattern: str, text: str, allowed: bool, refused: bool) -> None:
    assert (matches(pattern, text, refuses=False), matches(pattern, text, refuses=True)) == (allowed, refused)


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_a_pattern_allows_it_also_refuses(pattern: str, text: str) -> None:
    assert matches(pattern, text, refuses=True) or not matches(pattern, text, refuses=False)


def test_a_private_read_seen_by_others_needs_approval() -> None:
    seen = call(risk=Risk.READ_ONLY, is_seen_by_others=True, **KNOWN)
    assert decide(rules(ALLOW, read_only_operations=True), seen) == Decision("ask", "seen_by_others")
    assert decide(rules(NEVER), seen) == Decision("refuse", "never")


def test_a_chat_can_lower_cost_limits_and_trust_new_tools() -> None:
    chat = ChatApproval(
        max_cost_per_tool=Decimal("0.10"), require_approval_for_new_tools=False, low_risk_operations=True
    )
    here = SAFE.in_chat(chat)
    assert decide(here, call(cost=Decimal("0.11"))) == Decision("refuse", "cost_per_tool")
    assert decide(here, call(cost=Decimal("0.10"), risk=Risk.LOW)) == Decision("run", "low_risk")
    assert SAFE.in_chat(ChatApproval(max_cost_per_tool=Decimal(5))).max_cost_per_tool == Decimal("1.00")
