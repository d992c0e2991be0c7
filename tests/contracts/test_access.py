"""Tests for access to every route: anonymous callers, strangers, guests, the owner and read-only tokens."""

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from tertulia.app import create_app
from tertulia.http.routing import Access, require_declared_access
from tertulia.settings import Settings
from tests.conftest import SignIn
from tests.contracts.answers import Answers
from tests.contracts.things import body_for, make_things
from tests.factories.accounts import make_admin
from tests.fakes.live_server import Client, LiveServer, parse_events
from tests.fakes.scripted_provider import ScriptedProvider

# Statuses of the owner's calls that depend on the state of the object, not on access.
STATE = {
    ("POST", "/messages/{message_id}/continue"): 409,
    ("POST", "/messages/{message_id}/regenerate"): 201,
    ("GET", "/attachments/{attachment_id}/thumbnail"): 404,  # a text has no thumbnail
    ("PATCH", "/drafts/{draft_id}"): 428,
    ("POST", "/chats/{chat_id}/context-optimizations"): 409,  # the only question cannot be left out
    ("POST", "/tool-servers/{server_id}/sign-in"): 422,  # its address is private, and is not called
    ("PATCH", "/subscriptions/{subscription_id}"): 404,  # nothing was bought: tests/billing/payments/test_changes.py
    ("POST", "/invitations/{token}/join"): 404,  # no invitation is open: tests/invitations/test_project_links.py
    ("POST", "/payments/{payment_id}/invoice"): 404,  # nothing was bought: tests/billing/payments/test_deliveries.py
    ("POST", "/projects/{project_id}/members"): 409,  # the owner is a member already
    ("DELETE", "/projects/{project_id}/members/{user_id}"): 409,  # a project needs an owner
    ("POST", "/tool-executions/{execution_id}/answer"): 409,  # it awaits approval, and asked no question
}


def routes() -> list[tuple[str, str, Access]]:
    app = create_app(Settings(local_model="none", embedding_model="none", secret_keys="A" * 43 + "="))
    return [
        (method, route.path.removeprefix("/api/v1"), Access((route.openapi_extra or {})["x-access"]))
        for route in app.routes
        if isinstance(route, APIRoute) and route.path.startswith("/api/v1") and route.include_in_schema
        for method in sorted((route.methods or set()) - {"HEAD"})  # answered like GET
    ]


ROUTES = routes()
PROTECTED = [(method, path) for method, path, access in ROUTES if access is not Access.PUBLIC]
IDS = (
    "chat_id",
    "message_id",
    "run_id",
    "session_id",
    "token_id",
    "config_id",
    "user_id",
    "invitation_id",
    "subscription_id",
    "payment_id",
    "project_id",
    "channel_id",
    "tag_id",
    "attachment_id",
    "share_id",
    "import_id",
    "draft_id",
    "number",
    "proposal_id",
    "execution_id",
    "server_id",
    "optimization_id",
    "quota_id",
    "notice_id",
    "plan_id",
    "event_id",
    "price_id",
    "provider",
    "reconciliation_id",
    "emoji",
    "token",
)
# Routes open to a user with a read share of the chat and draft. All other routes answer as if missing, or refuse.
READERS = {
    ("GET", "/chats/{chat_id}"),
    ("GET", "/chats/{chat_id}/messages"),
    ("GET", "/chats/{chat_id}/tree"),
    ("GET", "/chats/{chat_id}/export"),
    ("PUT", "/chats/{chat_id}/presence"),
    ("GET", "/messages/{message_id}"),
    ("GET", "/chats/{chat_id}/state"),
    ("GET", "/chats/{chat_id}/tool-executions"),
    ("GET", "/messages/{message_id}/tool-executions"),
    ("GET", "/tool-executions/{execution_id}"),
    ("POST", "/messages/{message_id}/fork"),
    ("GET", "/runs/{run_id}"),
    ("GET", "/attachments/{attachment_id}"),
    ("GET", "/attachments/{attachment_id}/content"),
    ("GET", "/chats/{chat_id}/context"),
    ("GET", "/chats/{chat_id}/context-optimizations"),
    ("GET", "/chats/{chat_id}/context-optimizations/forecast"),
    ("GET", "/chats/{chat_id}/drafts"),
    ("GET", "/drafts/{draft_id}"),
    ("GET", "/drafts/{draft_id}/chats"),
    ("GET", "/drafts/{draft_id}/export"),
    ("GET", "/drafts/{draft_id}/proposals"),
    ("GET", "/drafts/{draft_id}/rich-text"),
    ("GET", "/drafts/{draft_id}/versions"),
    ("GET", "/drafts/{draft_id}/versions/{number}"),
    ("GET", "/drafts/{draft_id}/versions/{number}/authorship"),
    ("GET", "/drafts/{draft_id}/versions/{number}/diff"),
    ("DELETE", "/shares/{share_id}"),  # their own share, to leave
}
# Ids of what is never shared.
OWN_ALONE = (
    "{config_id}",
    "{server_id}",
    "{tag_id}",
    "{quota_id}",
    "{notice_id}",
    "{invitation_id}",
    "{reconciliation_id}",
)
WRITERS = READERS | {
    ("POST", "/chats/{chat_id}/messages"),
    ("PATCH", "/messages/{message_id}"),
    ("POST", "/messages/{message_id}/edit"),
    ("POST", "/messages/{message_id}/regenerate"),
    ("PUT", "/messages/{message_id}/reactions/{emoji}"),
    ("DELETE", "/messages/{message_id}/reactions/{emoji}"),
    ("POST", "/runs/{run_id}/cancel"),
    ("PUT", "/chats/{chat_id}/state"),
    ("PATCH", "/chats/{chat_id}/context-optimizations/{optimization_id}"),
    ("DELETE", "/chats/{chat_id}/context-optimizations"),
    ("DELETE", "/chats/{chat_id}/context-optimizations/{optimization_id}"),
    ("PUT", "/chats/{chat_id}/drafts/{draft_id}"),
    ("DELETE", "/chats/{chat_id}/drafts/{draft_id}"),
    ("POST", "/drafts/{draft_id}/chats"),
    ("POST", "/drafts/{draft_id}/proposals"),
    ("POST", "/drafts/{draft_id}/versions"),
    ("PATCH", "/drafts/{draft_id}/versions/{number}"),
    ("POST", "/drafts/{draft_id}/versions/{number}/restore"),
    ("PUT", "/drafts/{draft_id}/working-copy"),
    ("POST", "/proposals/{proposal_id}/accept"),
    ("POST", "/proposals/{proposal_id}/reject"),
}
ADMINISTRATION = [(method, path) for method, path, access in ROUTES if access is Access.ADMIN]
WITH_IDS = [pair for pair in PROTECTED if "{" in pair[1] and pair not in ADMINISTRATION]


def test_an_app_with_an_undeclared_route_does_not_start() -> None:
    app = FastAPI()
    app.add_api_route("/open", lambda: None)
    with pytest.raises(RuntimeError, match="declares no access"):
        require_declared_access(app)


def test_only_the_listed_routes_are_public() -> None:
    public = {(method, path) for method, path, access in ROUTES if access is Access.PUBLIC}
    shared = {(method, path) for method, path in public if path.startswith("/shared/{token}")}
    assert all(method == "GET" for method, _ in shared)
    assert public - shared == {
        ("GET", "/setup"),
        ("POST", "/setup"),
        ("POST", "/session"),
        ("GET", "/oauth/client"),  # the OAuth client metadata of this instance
        ("POST", "/webhooks/{source}"),  # signed by the payment provider
        ("GET", "/invitations/{token}"),
        ("POST", "/invitations/{token}/accept"),
    }


def test_anonymous_calls_are_refused_on_every_protected_route(server: LiveServer) -> None:
    wrong = []
    with Client(server.url) as anonymous:
        for method, path in PROTECTED:
            filled = path.format(**dict.fromkeys(IDS, "0" * 32) | {"emoji": "👍", "number": "1"})
            answer = anonymous.request(method, filled, json=body_for(method, path))
            if (answer.status_code, answer.json()["code"]) != (401, "not_signed_in"):
                wrong.append((method, path, answer.text))
    assert wrong == []


@pytest.mark.parametrize("role", ["stranger", "administrator"])
def test_hidden_objects_look_missing_to_others(
    ana: Client, server: LiveServer, sign_in: SignIn, provider: ScriptedProvider, role: str
) -> None:
    things = make_things(ana, provider, "".join(path for _, path in WITH_IDS))
    missing = dict.fromkeys(things, "00000000-0000-7000-8000-000000000000") | {"emoji": "👍", "number": "1"}
    other = sign_in("bob") if role == "stranger" else make_admin(server, sign_in)
    wrong = []
    for method, path in WITH_IDS:
        hidden = other.request(method, path.format(**things), json=body_for(method, path, things))
        absent = other.request(method, path.format(**missing), json=body_for(method, path, missing))
        is_alike = {**hidden.json(), "request_id": ""} == {**absent.json(), "request_id": ""}
        if not (hidden.status_code == absent.status_code == 404 and is_alike):
            wrong.append((method, path, hidden.text[:200], absent.text[:200]))
    assert wrong == []


@pytest.mark.parametrize(
    ("may", "is_admin"),
    [(READERS, False), (WRITERS, False), (READERS, True)],
    ids=["reader", "writer", "reader who is an administrator"],
)
def test_guests_may_call_only_the_listed_routes(
    ana: Client,
    server: LiveServer,
    sign_in: SignIn,
    provider: ScriptedProvider,
    may: set[tuple[str, str]],
    is_admin: bool,
) -> None:
    wrong = []
    guest = make_admin(server, sign_in) if is_admin else sign_in("bob")
    body = {"shared_with_username": guest.user["username"], "permissions": {"can_write": may is WRITERS}}
    things: dict[str, str] = {}
    # Reads come first, on one complete set. Each later call gets the objects that its path names.
    for method, path in sorted(WITH_IDS, key=lambda pair: pair[0] != "GET"):
        if path.endswith("/events") or any(name in path for name in OWN_ALONE):
            continue
        if not things or not all(f"{{{name}}}" not in path or name in things for name in IDS):
            every = "{attachment_id}{import_id}{token_id}{chat_id}{draft_id}{proposal_id}{execution_id}{project_id}"
            every += "{channel_id}"
            things = make_things(ana, provider, every if method == "GET" else f"{path}{{chat_id}}{{draft_id}}")
            things["share_id"] = ana.api("POST", f"/chats/{things['chat_id']}/shares", json=body, expect=201)["id"]
            ana.api("POST", f"/drafts/{things['draft_id']}/shares", json=body, expect=201)
        answer = guest.request(method, path.format(**things), json=body_for(method, path, things))
        is_let_in = answer.status_code < 300
        if is_let_in != ((method, path) in may) or (not is_let_in and answer.status_code not in (403, 404, 409)):
            wrong.append((method, path, answer.status_code, answer.text[:120]))
        if is_let_in and method != "GET":
            things = {}  # the next call needs unchanged objects
    assert wrong == []


IN_PROJECT = {
    ("GET", "/projects/{project_id}"),
    ("GET", "/projects/{project_id}/members"),
    ("GET", "/projects/{project_id}/channels"),
    ("GET", "/channels/{channel_id}"),
    ("PUT", "/channels/{channel_id}/read"),
    ("PUT", "/channels/{channel_id}/muted"),
}
WRITTEN_IN_PROJECT = {
    ("POST", "/projects/{project_id}/channels"),
    ("PATCH", "/channels/{channel_id}"),
}
NOT_OF_CHATS = ("{draft_id}", "{share_id}", "{proposal_id}", "{optimization_id}")


@pytest.mark.parametrize(("role", "may"), [("viewer", READERS), ("member", WRITERS)])
def test_members_may_call_only_the_listed_routes(
    ana: Client, sign_in: SignIn, provider: ScriptedProvider, role: str, may: set[tuple[str, str]]
) -> None:
    """Try every route with ids on an open chat of a project, as a viewer and as a member."""
    wrong = []
    guest = sign_in("bob")
    listed = {pair for pair in may if not any(name in pair[1] for name in NOT_OF_CHATS)} | IN_PROJECT
    if may is WRITERS:
        listed |= WRITTEN_IN_PROJECT
    things: dict[str, str] = {}
    for method, path in sorted(WITH_IDS, key=lambda pair: pair[0] != "GET"):
        if path.endswith("/events") or any(name in path for name in (*OWN_ALONE, *NOT_OF_CHATS)):
            continue
        if not things or not all(f"{{{name}}}" not in path or name in things for name in IDS):
            every = "{attachment_id}{import_id}{token_id}{execution_id}{project_id}{channel_id}"
            things = make_things(ana, provider, every if method == "GET" else f"{path}{{project_id}}")
            project = f"/projects/{things['project_id']}"
            ana.api("PUT", f"{project}/chats/{things['chat_id']}", json={"is_open_to_project": True})
            ana.api("POST", f"{project}/members", json={"username": "bob", "role": role}, expect=201)
        answer = guest.request(method, path.format(**things), json=body_for(method, path, things))
        is_let_in = answer.status_code < 300
        if is_let_in != ((method, path) in listed) or (not is_let_in and answer.status_code not in (403, 404, 409)):
            wrong.append((method, path, answer.status_code, answer.text[:120]))
        if is_let_in and method != "GET":
            things = {}  # the next call needs unchanged objects
    assert wrong == []


def test_an_unknown_link_is_not_found_on_every_shared_route(server: LiveServer) -> None:
    things = dict.fromkeys(IDS, "00000000-0000-7000-8000-000000000000") | {"token": "s" + "x" * 43}
    with Client(server.url) as stranger:
        for method, path, access in ROUTES:
            if access is Access.PUBLIC and path.startswith("/shared/{token}"):
                answer = stranger.request(method, path.format(**things))
                assert (answer.status_code, answer.json()["code"]) == (404, "share_not_found"), path


@pytest.mark.parametrize(
    "engine_kind", ["sqlite"]
)  # refusals are tested on both engines, allowed calls in every other test
def test_the_owner_may_call_every_route_with_ids(ana: Client, provider: ScriptedProvider) -> None:
    wrong = []
    answers = Answers(ana.api("GET", "/openapi.json"))
    shown = make_things(ana, provider, "".join(path for method, path in WITH_IDS if method == "GET"))
    # Last, because it ends this session.
    for method, path in sorted(WITH_IDS, key=lambda pair: "{session_id}" in pair[1]):
        if path.endswith("/events"):
            continue
        things = shown if method == "GET" else make_things(ana, provider, path)
        answer = ana.request(method, path.format(**things), json=body_for(method, path, things))
        answers.check(method, path, answer)
        is_let_in = answer.status_code == STATE.get((method, path), answer.status_code)
        if not is_let_in or (answer.status_code >= 300 and (method, path) not in STATE):
            wrong.append((method, path, answer.text[:200]))
    for method, path in PROTECTED:
        if method == "GET" and "{" not in path and path not in ("/events", "/export"):
            query = "?q=hello" if path == "/search" else ""
            answers.check(method, path, ana.get(f"{path}{query}"))
    assert wrong == []
    assert answers.wrong == []
    assert answers.checked > 80


@pytest.mark.parametrize(("method", "path"), ADMINISTRATION)
def test_administration_is_refused_to_other_users(ana: Client, method: str, path: str) -> None:
    things = dict.fromkeys(IDS, "00000000-0000-7000-8000-000000000000") | {"user_id": ana.user["id"]}
    refused = ana.request(method, path.format(**things), json=body_for(method, path))
    assert (refused.status_code, refused.json()["code"]) == (403, "admin_only")


@pytest.mark.parametrize(
    "path", ["/operator/users/ana/password", "/operator/users/ana/deactivate", "/operator/models/refresh"]
)
def test_operator_calls_are_refused_even_to_administrators(server: LiveServer, sign_in: SignIn, path: str) -> None:
    admin = make_admin(server, sign_in)
    refused = admin.request("POST", path, json={"password": "another horse battery"} if "password" in path else None)
    assert (refused.status_code, refused.json()["code"]) == (403, "admin_only")


def test_a_read_only_token_cannot_write(ana: Client, server: LiveServer) -> None:
    token = ana.api("POST", "/api-tokens", json={"name": "reader", "scopes": ["read"]}, expect=201)["token"]
    things = dict.fromkeys(IDS, "00000000-0000-7000-8000-000000000000") | {"emoji": "👍", "number": "1"}
    wrong = []
    with Client(server.url) as reader:
        reader.headers["Authorization"] = f"Bearer {token}"
        for method, path in PROTECTED:
            if path == "/events":
                continue  # never ends; tested with the streams
            answer = reader.request(method, path.format(**things), json=body_for(method, path, things))
            code = answer.json().get("code") if "json" in answer.headers["content-type"] else None
            is_right = (
                answer.status_code in (200, 404) or code in ("admin_only", "sign_in_needed")
                if method == "GET"
                else code == "scope_missing"
            )
            if not is_right:
                wrong.append((method, path, answer.text))
    assert wrong == []


def test_foreign_ids_in_bodies_are_refused(ana: Client, sign_in: SignIn, provider: ScriptedProvider) -> None:
    things = make_things(ana, provider)
    bob = sign_in("bob")
    own = bob.chat()
    for method, path, body in (
        (
            "POST",
            f"/chats/{own['id']}/messages",
            {"content": "x", "reply": False, "previous_message_id": things["message_id"]},
        ),
        ("PUT", f"/chats/{own['id']}/head", {"message_id": things["message_id"]}),
    ):
        refused = bob.api(method, path, json=body, expect=422)
        assert refused["code"] == "message_not_in_chat"


MARK = "quincunx"
ABOUT_USERS = (
    "/users",
    "/usage/people",
    "/largest-users",
    "/security-report",
)  # administrators may see names and sizes


def test_an_administrator_finds_nothing_of_others(
    ana: Client, server: LiveServer, sign_in: SignIn, provider: ScriptedProvider
) -> None:
    """Try every list, search, export and stream without an id, as an administrator with nothing of their own."""
    names = "{attachment_id}{token_id}{draft_id}{execution_id}{share_id}{server_id}"
    things = make_things(ana, provider, names)
    ana.api("PATCH", f"/chats/{things['chat_id']}", json={"title": MARK})
    ana.say(things["chat_id"], f"{MARK} is a word", reply=False)
    version = {"content": f"The {MARK}", "parent_version_number": 1}
    ana.api("POST", f"/drafts/{things['draft_id']}/versions", json=version, expect=201)
    admin = make_admin(server, sign_in)
    queries = {"/search": f"?q={MARK}", "/tool-executions": "?status=pending"}
    shown = []
    for method, path in PROTECTED:
        if method != "GET" or "{" in path or path in ("/events", *ABOUT_USERS):
            continue
        answer = admin.request(method, f"{path}{queries.get(path, '')}")
        assert answer.status_code in (200, 403), (path, answer.text)
        # The audit log names objects by their ids, and nothing of their contents.
        names_ids = path.startswith("/audit-log")
        if MARK in answer.text or (
            not names_ids and any(thing in answer.text for thing in things.values() if len(thing) > 8)
        ):
            shown.append(path)
    assert shown == []
    with admin.stream("GET", "/events") as stream:
        events = parse_events(stream)
        assert next(events)[1] == "ready"
        ana.say(things["chat_id"], f"More about the {MARK}", reply=False)
        own = admin.chat(title="Own")["id"]
        seen: list[str] = []
        while not seen or own not in seen[-1]:
            seen.append(str(next(events)))
    assert [event for event in seen if things["chat_id"] in event or MARK in event] == []
