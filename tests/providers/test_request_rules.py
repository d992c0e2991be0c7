"""Test that requests have the order and the ids that strict servers require."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.providers.protocol import RequestMessage, ToolCall
from tertulia.providers.request_rules import LEFT_OUT, CallIds, alternating


def user(text: str) -> RequestMessage:
    return RequestMessage("user", text)


def reply(text: str, *calls: ToolCall) -> RequestMessage:
    return RequestMessage("assistant", text, tool_calls=calls)


CALL = ToolCall("a", "f", "{}")
RESULT = RequestMessage("tool", "42", tool_call_id="a")


@pytest.mark.parametrize(
    ("messages", "sent"),
    [
        ([user("a"), user("b")], [user("a\n\nb")]),
        ([user("a"), reply(""), user("b")], [user("a\n\nb")]),
        ([reply("a"), user("b")], [user(LEFT_OUT), reply("a"), user("b")]),
        ([user("a"), reply("b"), reply("c")], [user("a"), reply("b\n\nc")]),
        ([user("a"), reply("", CALL), RESULT, reply("b")], [user("a"), reply("", CALL), RESULT, reply("b")]),
        ([user("a"), reply("b", CALL), RESULT, user("c")], [user("a"), reply("b", CALL), RESULT, user("c")]),
        ([user("a"), reply("b"), reply("c", CALL), RESULT], [user("a"), reply("b\n\nc", CALL), RESULT]),
        (
            [RequestMessage("system", "x"), user("a"), RequestMessage("system", "y")],
            [RequestMessage("system", "x\n\ny"), user("a")],
        ),
    ],
)
def test_roles_alternate(messages: list[RequestMessage], sent: list[RequestMessage]) -> None:
    assert alternating(messages) == sent


@given(st.text(max_size=80))
def test_call_ids_fit_the_vendor_and_stay_distinct(call_id: str) -> None:
    mistral = CallIds("[a-zA-Z0-9]{9}", 9)
    for rule in (CallIds(), mistral):
        fitted = rule.fit(call_id)
        assert rule.fit(call_id) == fitted
        assert rule.fit(fitted) == fitted
    assert mistral.fit(call_id) != mistral.fit(f"{call_id}x")
