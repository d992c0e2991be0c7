"""Test that an API token cannot widen what runs automatically."""

from contextlib import closing

import pytest

from tests.factories.tool_calls import decide, script_calls, send_with_tools, wait_for_pending_calls
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import Call, Finish, ScriptedProvider, Text


@pytest.fixture
def token(ana: Client, server: LiveServer) -> str:
    created = ana.api("POST", "/api-tokens", json={"name": "script", "scopes": ["read", "write"]}, expect=201)
    return str(created["token"])


def test_a_token_cannot_change_rules_or_remember_an_approval(
    ana: Client, server: LiveServer, provider: ScriptedProvider, token: str
) -> None:
    provider.play(script_calls(Call("calculate", {"expression": "1+1"})), [Text("2"), Finish()])
    sent = send_with_tools(ana)
    (call,) = wait_for_pending_calls(ana)
    with closing(Client(server.url)) as script:
        script.headers["Authorization"] = f"Bearer {token}"
        chat = f"/chats/{sent['message']['chat_id']}/auto-approval"
        answers = [
            script.api("PUT", "/auto-approval-settings", json={"low_risk_operations": True}, expect=403),
            script.api("PUT", chat, json={"read_only_operations": True}, expect=403),
            decide(script, call, remember="always", expect=403),
            decide(script, call, remember="chat", expect=403),
        ]
        assert {answer["code"] for answer in answers} == {"sign_in_needed"}
        assert script.api("GET", "/auto-approval-settings")["low_risk_operations"] is False
        decide(script, call)  # once is not a rule
    ana.finished(sent["run"]["id"])
