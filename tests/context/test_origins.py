"""Test that a chat's context names where its instructions, model, tools and limits come from."""

import pytest

from tests.conftest import ServerMaker, SignIn
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import ScriptedProvider


@pytest.fixture
def server(start_server: ServerMaker, provider: ScriptedProvider) -> LiveServer:
    provider.models = ["gpt-4o", "o3"]
    return start_server(openai_base_url=provider.url, openai_api_key="sk-x", openai_models=("gpt-4o", "o3"))


def origins(client: Client, chat_id: str) -> list[tuple[str, str, str | None, str]]:
    items = client.api("GET", f"/chats/{chat_id}/context")["origins"]
    return [(item["kind"], item["place"], item["name"], item["detail"]) for item in items]


def test_the_context_names_the_place_of_everything_that_counts(ana: Client, sign_in: SignIn) -> None:
    body = {"name": "Garden", "instructions": "Speak of gardens.", "default_model": "openai/o3"}
    project_id = ana.api("POST", "/projects", json=body, expect=201)["id"]
    limit = {"window": "month", "max_cost": "5"}
    for kind, subject_id in (("project", project_id), ("user", ana.user["id"])):
        quota = limit | {"subject_kind": kind, "subject_id": subject_id, "is_own": True}
        ana.api("POST", "/quotas", json=quota, expect=201)
    chat = ana.api("POST", "/chats", json={"project_id": project_id, "is_open_to_project": True}, expect=201)
    ana.api("PATCH", f"/chats/{chat['id']}", json={"system_prompt": "Be brief.", "settings": {"tools": ["calculate"]}})
    assert origins(ana, chat["id"]) == [
        ("instructions", "project", "Garden", "Speak of gardens."),
        ("instructions", "chat", None, "Be brief."),
        ("model", "project", "Garden", "o3"),
        ("tools", "chat", None, "1"),
        ("limit", "account", None, "$5.00 a month"),
        ("limit", "project", "Garden", "$5.00 a month"),
    ]
    bob = sign_in("bob")
    ana.api("POST", f"/projects/{project_id}/members", json={"username": "bob"}, expect=201)
    shown = origins(bob, chat["id"])
    assert ("limit", "project", "Garden", "") in shown  # what others may spend is the owner's business
    assert ("limit", "account", None, "$5.00 a month") not in shown


def test_a_chat_without_a_project_has_its_own_model_or_that_of_the_account(ana: Client) -> None:
    chat = ana.chat()
    assert [place for kind, place, *_ in origins(ana, chat["id"]) if kind == "model"] == ["server"]
    ana.api("PATCH", "/me", json={"preferences": {"default_model": "openai/o3"}})
    assert ("model", "account", None, "o3") in origins(ana, ana.chat()["id"])
    chosen = ana.chat(provider="openai", model_name="gpt-4o")
    assert origins(ana, chosen["id"]) == [("model", "chat", None, "gpt-4o")]
