"""Script, send, find and decide tool calls in tests."""

import json
from typing import Any

from sqlalchemy.orm import Session

from tertulia.db.opening import plain_engine
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import Call, Finish, Text
from tests.waiting import until

ALL_TOOLS = ["record", "other", "calculate", "current_time", "read_state", "write_state", "read_chat", "fetch_page"]


def script_calls(*calls: Call, text: str = "") -> list[Any]:
    return [*([Text(text)] if text else []), *calls, Finish("tool_calls")]


def send_with_tools(client: Client, content: str = "Do it", **settings: Any) -> dict[str, Any]:
    chat = client.chat(settings={"tools": ALL_TOOLS} | settings)
    return client.say(chat["id"], content)


def wait_for_pending_calls(client: Client, count: int = 1) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def are_there() -> bool:
        calls[:] = client.api("GET", "/tool-executions", params={"status": "pending"})["items"]
        return len(calls) == count

    until(are_there)
    return calls


def list_calls(client: Client, sent: dict[str, Any]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.api("GET", f"/messages/{sent['reply']['id']}/tool-executions")["items"]
    return items


def decide(
    client: Client,
    call: dict[str, Any],
    decision: str = "approve",
    expect: int = 200,
    arguments: dict[str, Any] | None = None,
    **body: Any,
) -> Any:
    """Decide about a call. `arguments` replaces the model's arguments."""
    if arguments is not None:
        body["arguments_json"] = json.dumps(arguments)
    return client.api("POST", f"/tool-executions/{call['id']}/{decision}", json=body, expect=expect)


def wait_for_approval(client: Client, sent: dict[str, Any]) -> None:
    until(lambda: client.api("GET", f"/runs/{sent['run']['id']}")["status"] == "awaiting_approval")


def set_approval_rules(client: Client, **changes: Any) -> None:
    rules = {"specific_tools": {"record": [{"rule": "allow"}]}} | changes
    client.api("PUT", "/auto-approval-settings", json=rules)


def signed_in(server: LiveServer) -> Client:
    from tests.factories.accounts import PASSWORD_HASH, make_user

    engine = plain_engine(server.settings)
    with Session(engine) as session:
        make_user(session, username="ana", name="Ana", password_hash=PASSWORD_HASH)
        session.commit()
    engine.dispose()
    client = Client(server.url)
    client.user = client.api(
        "POST", "/session", json={"username": "ana", "password": "correct horse battery"}, expect=201
    )
    return client
