"""Make an object of each kind that routes name, and bodies for the routes."""

from collections.abc import Callable
from typing import Any

from tests.fakes.live_server import Client
from tests.fakes.scripted_provider import Call, Finish, ScriptedProvider, Text
from tests.waiting import until

# Bodies that pass validation, so that the call reaches the access check.
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/chats/{chat_id}/messages"): {"content": "hello", "reply": False},
    ("POST", "/messages/{message_id}/edit"): {"content": "hello", "reply": False},
    ("PUT", "/chats/{chat_id}/head"): "head",
    ("POST", "/projects/{project_id}/channels"): {"name": "other"},
    ("PUT", "/channels/{channel_id}/read"): "read",
    ("PUT", "/channels/{channel_id}/muted"): {"is_muted": True},
    ("POST", "/users"): {"username": "new", "name": "New", "password": "correct horse battery"},
    ("POST", "/api-tokens"): {"name": "script"},
    ("POST", "/session/confirm"): {"password": "correct horse battery"},
    ("PUT", "/me/password"): {"password": "correct horse battery", "new_password": "another horse battery"},
    ("PUT", "/chats/{chat_id}/presence"): {},
    ("POST", "/tags"): {"name": "home"},
    ("POST", "/tags/{tag_id}/merge"): "merge",
    ("POST", "/drafts/{draft_id}/versions"): {"content": "x", "parent_version_number": 1},
    ("POST", "/drafts/{draft_id}/proposals"): {"instruction": "shorten", "version_number": 1},
    ("PATCH", "/drafts/{draft_id}/versions/{number}"): {"name": "first"},
    ("PATCH", "/messages/{message_id}"): {"context_rule": "pinned"},
    ("PUT", "/drafts/{draft_id}/working-copy"): {
        "content": "x",
        "base_version_number": 1,
        "revision": 0,
        "window_id": "w",
    },
    ("PUT", "/chats/{chat_id}/auto-approval"): {},
    ("PUT", "/auto-approval-settings"): {},
    ("PUT", "/chats/{chat_id}/state"): {"state": {}},
    ("POST", "/tool-executions/{execution_id}/answer"): {"question_id": "x", "action": "cancel"},
    ("POST", "/chats/{chat_id}/context-optimizations"): {"optimization_type": "truncation"},
    ("PATCH", "/chats/{chat_id}/context-optimizations/{optimization_id}"): {"summary": "Short."},
    ("POST", "/tool-servers/sign-in"): {"state": "x", "code": "y"},
    ("POST", "/tool-servers"): {"name": "tools", "url": "http://[::1]:9/mcp"},
    ("PUT", "/models/window"): {"provider": "openai", "model_name": "m", "context_window": 4096},
    ("PUT", "/models/favourite"): {"provider": "openai", "model_name": "m", "is_favourite": True},
    ("POST", "/provider-configs"): {"provider": "mistral", "api_key": "abcdefghijkl"},
    ("POST", "/quotas"): {
        "subject_kind": "user",
        "subject_id": "00000000-0000-7000-8000-000000000000",
        "window": "month",
        "max_cost": "20",
    },
    ("POST", "/plans"): {"name": "Pro"},
    ("POST", "/model-prices"): {"provider": "openai", "model_name": "m", "input_price": "1"},
    ("PUT", "/unknown-prices/{provider}"): {"rule": "allow"},
    ("POST", "/usage/reconciliations/{reconciliation_id}/correct"): {
        "lines": [{"day": "2026-11-01", "model_name": "m"}]
    },
    ("POST", "/usage/reconciliations"): {"provider": "openai", "content": "date,model,cost\n2026-11-01,m,1\n"},
    ("POST", "/checkout"): {"plan_id": "00000000-0000-7000-8000-000000000000"},
    ("PUT", "/users/{user_id}/plan"): {"plan_id": None},
    ("PATCH", "/subscriptions/{subscription_id}"): {"cancel_at_period_end": True},
    ("POST", "/projects"): {"name": "Garden"},
    ("PUT", "/projects/{project_id}/chats/{chat_id}"): {"is_open_to_project": True},
    ("POST", "/projects/{project_id}/members"): {"username": "ana"},
    ("PATCH", "/projects/{project_id}/members/{user_id}"): {"role": "owner"},
    ("POST", "/invitations/{token}/accept"): {"username": "eve", "name": "Eve", "password": "correct horse battery"},
}


def body_for(method: str, path: str, things: dict[str, str] | None = None) -> Any:
    """Return a body that a route takes, or None."""
    body = BODIES.get((method, path), {} if method in ("POST", "PATCH") else None)
    if body == "head":
        return {"message_id": (things or {}).get("message_id", "0" * 32)}
    if body == "read":
        return {"message_id": (things or {}).get("in_channel_id", "0" * 32)}
    if body == "merge":
        return {"into_id": (things or {}).get("tag_id", "0" * 32)}
    return body


def make_things(client: Client, provider: ScriptedProvider, path: str = "") -> dict[str, str]:
    """Create an object of each kind, and expensive ones only if the path names them. Return their ids by name."""
    chat = client.chat()
    things = {"emoji": "👍", "chat_id": chat["id"]}
    if "{attachment_id}" in path:
        things["attachment_id"] = _file(client)
    sent = client.say(chat["id"], "hello", attachment_ids=[things[name] for name in things if name == "attachment_id"])
    client.finished(sent["run"]["id"])
    if "{draft_id}" in path or "{proposal_id}" in path:
        things |= {"draft_id": client.api("POST", "/drafts", json={}, expect=201)["id"], "number": "1"}
        if "{chat_id}" in path:
            client.api("PUT", f"/chats/{chat['id']}/drafts/{things['draft_id']}")
    for name, make in MAKERS.items():
        if f"{{{name}}}" in path:
            things[name] = make(client, provider, things)
    return things | {
        "message_id": sent["reply"]["id"],
        "run_id": sent["run"]["id"],
        "session_id": client.api("GET", "/sessions")["items"][0]["id"],
        "tag_id": _tag(client),
        "token": "s" + "x" * 43,
        "subscription_id": "sub_1",
        "payment_id": "pay_1",
        "user_id": client.user["id"],
    }


def _file(client: Client) -> str:
    file = client.api("POST", "/attachments", files={"file": ("a.txt", b"x")}, expect=201)
    until(lambda: client.api("GET", f"/attachments/{file['id']}")["status"] == "ready")
    return str(file["id"])


def _import(client: Client, *_: object) -> str:
    job = client.api("POST", "/imports", files={"file": ("a.json", b"{}")}, expect=201)
    until(lambda: client.api("GET", f"/imports/{job['id']}")["status"] == "failed")
    return str(job["id"])


def _compaction(client: Client, provider: ScriptedProvider, things: dict[str, str]) -> str:
    client.say(things["chat_id"], "word " * 200, reply=False)
    client.say(things["chat_id"], "and now?", reply=False)
    provider.play([Text("Short."), Finish()])
    path, body = f"/chats/{things['chat_id']}/context-optimizations", {"optimization_type": "summarization"}
    return str(client.api("POST", path, json=body, expect=201)["id"])


def _waiting_call(client: Client, provider: ScriptedProvider, things: dict[str, str]) -> str:
    """Create a tool call that awaits approval, and return its id."""
    client.api("PATCH", f"/chats/{things['chat_id']}", json={"settings": {"tools": ["calculate"]}})
    provider.play_for("Work it out", [Call("calculate", {"expression": "1 + 1"}), Finish("tool_calls")])
    sent = client.say(things["chat_id"], "Work it out")
    until(lambda: client.api("GET", f"/runs/{sent['run']['id']}")["status"] == "awaiting_approval")
    items = client.api("GET", f"/messages/{sent['reply']['id']}/tool-executions")["items"]
    return str(items[0]["id"])


def _proposal(client: Client, _: ScriptedProvider, things: dict[str, str]) -> str:
    body = BODIES["POST", "/drafts/{draft_id}/proposals"]
    started = client.api("POST", f"/drafts/{things['draft_id']}/proposals", json=body, expect=201)
    client.finished(started["sent"]["run"]["id"])
    return str(started["proposal"]["id"])


def _channel(client: Client, _: ScriptedProvider, things: dict[str, str]) -> str:
    """Create a channel with a message, in the project of the other things if there is one."""
    project_id = things.get("project_id") or client.api("POST", "/projects", json={"name": "House"}, expect=201)["id"]
    channel = client.api("POST", f"/projects/{project_id}/channels", json={"name": "seeds"}, expect=201)
    things["in_channel_id"] = client.say(channel["chat_id"], "hello")["message"]["id"]
    return str(channel["id"])


def _quota(client: Client, *_: object) -> str:
    own = BODIES["POST", "/quotas"] | {"subject_id": client.user["id"]}
    return str(client.api("POST", "/quotas", json=own, expect=201)["id"])


def _notice(client: Client, *_: object) -> str:
    """Reach half of a limit, and return the id of the notice."""
    chat_id = client.api("POST", "/chats", json={}, expect=201)["id"]
    body = {"subject_kind": "chat", "subject_id": chat_id, "window": "month", "max_requests": 2}
    client.api("POST", "/quotas", json=body, expect=201)
    client.finished(client.say(chat_id, "Hello")["run"]["id"])
    return str(client.api("GET", "/quota-notices")["items"][0]["id"])


def _invitation(client: Client, *_: object) -> str:
    project_id = client.api("POST", "/projects", json={"name": "House"}, expect=201)["id"]
    return str(client.api("POST", "/invitations", json={"project_id": project_id}, expect=201)["id"])


def _share(client: Client, _: ScriptedProvider, things: dict[str, str]) -> str:
    return str(client.api("POST", f"/chats/{things['chat_id']}/shares", json={}, expect=201)["id"])


def _tag(client: Client) -> str:
    return _first_or_new(client, "/tags", {"name": "work"})


def _first_or_new(client: Client, path: str, body: object) -> str:
    """Return the first object of a list. Some can be made only once by a person."""
    known = client.api("GET", path)["items"]
    return str((known or [client.api("POST", path, json=body, expect=201)])[0]["id"])


def _new(path: str, body: object) -> Callable[[Client, ScriptedProvider, dict[str, str]], str]:
    return lambda client, *_: str(client.api("POST", path, json=body, expect=201)["id"])


MAKERS: dict[str, Callable[[Client, ScriptedProvider, dict[str, str]], str]] = {
    "import_id": _import,
    "config_id": lambda client, *_: _first_or_new(client, "/provider-configs", {"provider": "ollama"}),
    "optimization_id": _compaction,
    "server_id": lambda client, *_: _first_or_new(client, "/tool-servers", BODIES["POST", "/tool-servers"]),
    "reconciliation_id": _new("/usage/reconciliations", BODIES["POST", "/usage/reconciliations"]),
    "project_id": _new("/projects", {"name": "Garden"}),
    "channel_id": _channel,
    "quota_id": _quota,
    "notice_id": _notice,
    "invitation_id": _invitation,
    "token_id": _new("/api-tokens", {"name": "script"}),
    "execution_id": _waiting_call,
    "proposal_id": _proposal,
    "share_id": _share,
}
