"""Every id in a body or query that names nothing, an object elsewhere, or another user's object is refused."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tertulia.ids import new_id
from tests.conftest import SignIn
from tests.contracts.things import make_things
from tests.fakes.live_server import Client
from tests.fakes.scripted_provider import ScriptedProvider

Place = tuple[str, str, str]  # method, path, name
# Names that the caller chooses, which are no ids of objects, and ids that tests of their feature cover.
CHOSEN = {
    ("PUT", "/drafts/{draft_id}/working-copy", "window_id"),
    ("POST", "/tool-servers/{server_id}/sign-in", "client_id"),
    # Another question than the open one is 409: tests/tools/test_servers.py.
    ("POST", "/tool-executions/{execution_id}/answer", "question_id"),
    # Ids of a payment provider, and of plans, which only administrators use: tests/billing/test_plans.py.
    ("POST", "/plans", "products.product_id"),
    ("PATCH", "/plans/{plan_id}", "products.product_id"),
    ("PUT", "/users/{user_id}/plan", "plan_id"),
    # Only administrators invite with a plan: tests/invitations/test_invitations.py.
    ("POST", "/invitations", "plan_id"),
    # 404 before the plan is looked at: tests/billing/payments/test_changes.py.
    ("PATCH", "/subscriptions/{subscription_id}", "plan_id"),
    # 409 for a plan that is not for sale or does not exist: tests/billing/payments/test_buying.py.
    ("POST", "/checkout", "plan_id"),
}


def _file(id_: str) -> dict[str, Any]:
    return {"type": "image", "attachment_id": id_}


# How each place is called with an id, and the kind of object that it names.
CALLS: dict[Place, tuple[str, Callable[[str], dict[str, Any]]]] = {
    ("GET", "/attachments", "chat_id"): ("chat", lambda id_: {"params": {"chat_id": id_}}),
    ("GET", "/chats", "tag"): ("tag", lambda id_: {"params": {"tag": id_}}),
    ("GET", "/search", "chat_id"): ("chat", lambda id_: {"params": {"q": "hello", "chat_id": id_}}),
    ("GET", "/tool-executions", "chat_id"): ("chat", lambda id_: {"params": {"status": "pending", "chat_id": id_}}),
    ("GET", "/tools/usage", "chat_id"): ("chat", lambda id_: {"params": {"chat_id": id_}}),
    ("GET", "/chats", "project_id"): ("project", lambda id_: {"params": {"project_id": id_}}),
    ("POST", "/chats", "project_id"): ("project", lambda id_: {"json": {"project_id": id_}}),
    ("GET", "/invitations", "project_id"): ("project", lambda id_: {"params": {"project_id": id_}}),
    ("POST", "/invitations", "project_id"): ("project", lambda id_: {"json": {"project_id": id_}}),
    ("GET", "/forecast", "chat_id"): ("chat", lambda id_: {"params": {"chat_id": id_}}),
    ("GET", "/limits", "chat_id"): ("chat", lambda id_: {"params": {"chat_id": id_}}),
    ("GET", "/limits", "project_id"): ("project", lambda id_: {"params": {"project_id": id_}}),
    ("POST", "/quotas", "subject_id"): (
        "chat",
        lambda id_: {"json": {"subject_kind": "chat", "subject_id": id_, "window": "day", "max_requests": 1}},
    ),
    ("PUT", "/channels/{channel_id}/read", "message_id"): ("message", lambda id_: {"json": {"message_id": id_}}),
    ("PUT", "/chats/{chat_id}/head", "message_id"): ("message", lambda id_: {"json": {"message_id": id_}}),
    ("POST", "/chats/{chat_id}/messages", "attachment_ids"): (
        "attachment",
        lambda id_: {"json": {"content": "x", "reply": False, "attachment_ids": [id_]}},
    ),
    ("POST", "/chats/{chat_id}/messages", "parent_message_id"): (
        "message",
        lambda id_: {"json": {"content": "x", "reply": False, "parent_message_id": id_}},
    ),
    ("POST", "/chats/{chat_id}/messages", "previous_message_id"): (
        "message",
        lambda id_: {"json": {"content": "x", "reply": False, "previous_message_id": id_}},
    ),
    ("POST", "/chats/{chat_id}/messages", "parts.attachment_id"): (
        "attachment",
        lambda id_: {"json": {"parts": [_file(id_)], "reply": False}},
    ),
    ("POST", "/messages/{message_id}/edit", "attachment_ids"): (
        "attachment",
        lambda id_: {"json": {"content": "x", "reply": False, "attachment_ids": [id_]}},
    ),
    ("POST", "/messages/{message_id}/edit", "parts.attachment_id"): (
        "attachment",
        lambda id_: {"json": {"parts": [_file(id_)], "reply": False}},
    ),
    ("POST", "/chats/{chat_id}/shares", "shared_with_user_id"): (
        "user",
        lambda id_: {"json": {"shared_with_user_id": id_, "permissions": ["read"]}},
    ),
    ("POST", "/drafts/{draft_id}/shares", "shared_with_user_id"): (
        "user",
        lambda id_: {"json": {"shared_with_user_id": id_, "permissions": ["read"]}},
    ),
    ("POST", "/drafts", "message_id"): ("message", lambda id_: {"json": {"message_id": id_}}),
    ("POST", "/drafts/{draft_id}/proposals", "chat_id"): (
        "chat",
        lambda id_: {"json": {"instruction": "shorten", "version_number": 1, "chat_id": id_}},
    ),
    ("POST", "/proposals/{proposal_id}/accept", "edit_ids"): ("edit", lambda id_: {"json": {"edit_ids": [id_]}}),
    ("POST", "/proposals/{proposal_id}/reject", "edit_ids"): ("edit", lambda id_: {"json": {"edit_ids": [id_]}}),
    ("POST", "/tags/{tag_id}/merge", "into_id"): ("tag", lambda id_: {"json": {"into_id": id_}}),
}
# An object of the caller that is not in the chat or draft of the path. It is allowed where there is no such parent.
ELSEWHERE_ALLOWED = {
    ("GET", "/attachments", "chat_id"),
    ("GET", "/chats", "tag"),
    ("GET", "/chats", "project_id"),
    ("POST", "/chats", "project_id"),
    ("GET", "/search", "chat_id"),
    ("GET", "/tool-executions", "chat_id"),
    ("GET", "/tools/usage", "chat_id"),
    ("GET", "/forecast", "chat_id"),
    ("GET", "/limits", "chat_id"),
    ("GET", "/limits", "project_id"),
    ("GET", "/invitations", "project_id"),
    ("POST", "/invitations", "project_id"),
    ("POST", "/quotas", "subject_id"),
    ("POST", "/drafts", "message_id"),
    ("POST", "/tags/{tag_id}/merge", "into_id"),
}


def places(document: dict[str, Any]) -> Iterator[Place]:
    """Yield every id in the bodies and queries of a document."""

    def ids(schema: dict[str, Any], prefix: str) -> Iterator[str]:
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        for name, value in schema.get("properties", {}).items():
            if name.endswith(("_id", "_ids")):
                yield f"{prefix}{name}"
            yield from ids(value, f"{prefix}{name}.")
        for option in [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
            yield from ids(option, prefix)
        if isinstance(schema.get("items"), dict):
            yield from ids(schema["items"], prefix)

    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            named = [
                parameter["name"]
                for parameter in operation.get("parameters", ())
                if parameter["in"] == "query" and (parameter["name"].endswith("_id") or parameter["name"] == "tag")
            ]
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            for name in (*named, *ids(body, "")):
                yield method.upper(), path.removeprefix("/api/v1"), name


def test_every_id_of_the_document_is_tried(ana: Client) -> None:
    assert set(places(ana.api("GET", "/openapi.json"))) == CALLS.keys() | CHOSEN


def _objects(client: Client, provider: ScriptedProvider) -> dict[str, str]:
    """Create objects of every kind, and return their ids."""
    things = make_things(client, provider, "{attachment_id}{draft_id}{tag_id}{proposal_id}{project_id}{channel_id}")
    return things | {"user_id": client.user["id"]}


def test_ids_that_are_not_of_the_object_are_refused(ana: Client, sign_in: SignIn, provider: ScriptedProvider) -> None:
    own, foreign = _objects(ana, provider), _objects(sign_in("bob"), provider)
    other_chat = ana.chat()["id"]
    elsewhere = {"chat": other_chat, "message": ana.say(other_chat, "x", reply=False)["message"]["id"]}
    silent = []
    for place, (kind, options) in CALLS.items():
        method, path, name = place
        address = path.format_map(own)
        # An id of another kind, one of nothing, one of a stranger, and one of the caller in another place.
        tried = {"nothing": new_id(), "other kind": own["draft_id"] if kind != "draft" else own["chat_id"]}
        if kind not in ("user", "edit"):
            tried["stranger's"] = foreign[f"{kind}_id"]
        if kind in elsewhere and place not in ELSEWHERE_ALLOWED:
            tried["elsewhere"] = elsewhere[kind]
        if kind == "user":
            tried["own"] = own["user_id"]
        for what, id_ in tried.items():
            answer = ana.request(method, address, **options(id_))
            if answer.status_code not in (404, 422):
                silent.append((method, path, name, what, answer.status_code, answer.text[:200]))
    assert silent == []


@pytest.mark.parametrize("text", ["", "x", "../chats", "0" * 36, "not-an-id-at-all"])
def test_text_that_is_no_id_is_refused(ana: Client, provider: ScriptedProvider, text: str) -> None:
    own = _objects(ana, provider)
    for (method, path, _), (_, options) in CALLS.items():
        answer = ana.request(method, path.format_map(own), **options(text))
        assert answer.status_code in (404, 422), (method, path, answer.text)
