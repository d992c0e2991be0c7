"""Script, send, find and decide tool calls in tests."""

import json
from typing import Any

from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.db.opening import plain_engine
from tertulia.ids import RunId, ToolExecutionId, new_id
from tertulia.providers.protocol import ToolCall
from tertulia.runs.calls.proposing import ProposedCall, record_calls
from tertulia.runs.lease import RunRef
from tertulia.runs.models import Run
from tertulia.tools.models import ToolExecution
from tertulia.tools.protocol import OfferedTool, Tool
from tests.factories.chats import add_message, make_chat
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import Call, Finish, Text
from tests.fakes.tools import Recorder
from tests.waiting import until

ALL_TOOLS = ["record", "other", "calculate", "current_time", "read_state", "write_state", "read_chat", "fetch_page"]


def make_run(session: Session, owner: Actor, payer: Actor | None = None) -> RunRef:
    """Create a run in a new chat of `owner`, requested by `payer`, else by the owner."""
    payer = payer or owner
    chat_id = make_chat(session, owner=owner)
    reply = add_message(session, chat_id, "", owner=owner, is_reply=True)
    run_id = RunId(new_id())
    run = {"id": run_id, "chat_id": chat_id, "message_id": reply, "requested_by": payer.user_id}
    session.add(Run(**run, provider="p", model_name="m"))
    session.flush()
    return RunRef(chat_id, reply, run_id, owner.user_id, payer.user_id)


def propose(session: Session, run: RunRef, tool: Tool | None = None, **changes: Any) -> ToolExecutionId:
    """Record a call of a run, change columns of its row, and return its id."""
    proposed = ProposedCall(ToolCall(new_id(), "record", "{}"), OfferedTool(tool or Recorder()), {"text": "a"})
    (part,) = record_calls(session, run, 1, [proposed])
    row = session.get_one(ToolExecution, part.tool_execution_id)
    for name, value in changes.items():
        setattr(row, name, value)
    session.flush()
    return ToolExecutionId(row.id)


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
