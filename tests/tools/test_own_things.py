"""Test tools that read and edit the user's chats, files and drafts, with the user's own permissions."""

from typing import Any

import pytest

from tests.conftest import SignIn
from tests.factories.tool_calls import (
    decide,
    list_calls,
    script_calls,
    set_approval_rules,
    wait_for_approval,
    wait_for_pending_calls,
)
from tests.fakes.live_server import Client
from tests.fakes.scripted_provider import Call, Finish, ScriptedProvider, Text
from tests.waiting import until


def call_tool(client: Client, provider: ScriptedProvider, name: str, **arguments: Any) -> dict[str, Any]:
    """Run a tool in a new chat that allows it, and return the recorded call."""
    set_approval_rules(client, specific_tools={name: [{"rule": "allow"}]})
    provider.play(script_calls(Call(name, arguments)), [Text("So be it."), Finish()])
    sent = client.say(client.chat(settings={"tools": [name]})["id"], "Look")
    client.finished(sent["run"]["id"])
    (call,) = list_calls(client, sent)
    return call


@pytest.fixture
def eva(ana: Client, sign_in: SignIn) -> Client:
    return sign_in("eva")


def test_chats_are_searched_and_read_with_permission_only(ana: Client, eva: Client, provider: ScriptedProvider) -> None:
    chat = ana.chat(title="Bread")
    for text in ("How long does rye rise?", "And wheat?", "And spelt?"):
        ana.say(chat["id"], text, reply=False)
    until(lambda: ana.api("GET", "/search", params={"q": "rye"})["items"])
    search_call = call_tool(ana, provider, "search_chats", query="rye")
    assert chat["id"] in str(search_call["result"]["content"])
    whole = call_tool(ana, provider, "read_chat", chat_id=chat["id"])["result"]["content"]
    assert whole == "# Bread\n\nuser: How long does rye rise?\n\nuser: And wheat?\n\nuser: And spelt?"
    newest = call_tool(ana, provider, "read_chat", chat_id=chat["id"], limit=1)["result"]["content"]
    assert newest == "# Bread\n[older messages are left out]\n\nuser: And spelt?"
    assert chat["id"] not in str(call_tool(eva, provider, "search_chats", query="rye")["result"]["content"])
    hidden = call_tool(eva, provider, "read_chat", chat_id=chat["id"])
    missing = call_tool(eva, provider, "read_chat", chat_id="00000000-0000-7000-8000-000000000000")
    assert hidden["status"] == "failed"
    assert (
        hidden["error_message"] == missing["error_message"]
    )  # a missing chat and a chat of another user look the same
    assert "is not an id" in call_tool(ana, provider, "read_chat", chat_id="x" * 32)["error_message"]


def test_file_passages_are_read_with_permission_only(ana: Client, eva: Client, provider: ScriptedProvider) -> None:
    chat = ana.chat()["id"]
    sent = ana.request(
        "POST", "/attachments", files={"file": ("a.txt", b"The oven is hot by nine.")}, data={"chat_id": chat}
    )
    file_id = sent.json()["id"]
    until(lambda: ana.api("GET", f"/attachments/{file_id}")["status"] == "ready")
    read = call_tool(ana, provider, "read_attachment", attachment_id=file_id, start=4, length=4)
    assert read["result"]["content"] == "oven"
    assert call_tool(eva, provider, "read_attachment", attachment_id=file_id)["status"] == "failed"


def test_drafts_are_listed_read_and_edited_through_proposals(
    ana: Client, eva: Client, provider: ScriptedProvider
) -> None:
    draft = ana.api("POST", "/drafts", json={"title": "Rye", "content": "Rise for two hours.\n\nBake."}, expect=201)
    listed = call_tool(ana, provider, "list_drafts")["result"]
    assert (listed["kind"], [row[:2] for row in listed["content"]["rows"]]) == ("table", [[draft["id"], "Rye"]])
    read = call_tool(ana, provider, "read_draft", draft_id=draft["id"])
    assert read["result"]["content"].startswith("Rise for two hours.")
    assert call_tool(eva, provider, "list_drafts")["result"]["content"]["rows"] == []
    assert call_tool(eva, provider, "read_draft", draft_id=draft["id"])["status"] == "failed"
    edits = [{"find": "two hours", "replace": "three hours"}]
    assert call_tool(eva, provider, "edit_draft", draft_id=draft["id"], edits=edits)["status"] == "failed"
    edited = call_tool(ana, provider, "edit_draft", draft_id=draft["id"], edits=edits, why="It is cold")
    assert edited["status"] == "completed"
    (proposal,) = ana.api("GET", f"/drafts/{draft['id']}/proposals")["items"]
    assert [(edit["old_text"], edit["new_text"]) for edit in proposal["edits"]] == [("two", "three")]
    unchanged = ana.api("GET", f"/drafts/{draft['id']}")["current_version"]["content"]
    assert unchanged.startswith("Rise for two hours.")  # the user decides on each edit


def test_a_dry_run_previews_the_original_or_edited_arguments(
    ana: Client, eva: Client, provider: ScriptedProvider
) -> None:
    draft = ana.api("POST", "/drafts", json={"title": "Rye", "content": "Rise for two hours."}, expect=201)
    edits = [{"find": "two hours", "replace": "three hours"}, {"find": "an oven", "replace": "a stove"}]
    provider.play(
        script_calls(Call("edit_draft", {"draft_id": draft["id"], "edits": edits})), [Text("Well."), Finish()]
    )
    sent = ana.say(ana.chat(settings={"tools": ["edit_draft"]})["id"], "Change it")
    (call,) = wait_for_pending_calls(ana)
    wait_for_approval(ana, sent)
    path = f"/tool-executions/{call['id']}/dry-run"
    preview = ana.api("POST", path, json={})["effect"]
    assert preview.startswith("1 of 2 edits can be placed in “Rye”.")
    other = f'{{"draft_id": "{draft["id"]}", "edits": [{{"find": "Rise", "replace": "Rest"}}]}}'
    assert ana.api("POST", path, json={"arguments_json": other})["effect"].startswith("1 of 1 edits")
    nowhere = other.replace("Rise", "Sink")
    assert "None of the text" in ana.api("POST", path, json={"arguments_json": nowhere}, expect=422)["detail"]
    for wrong in ("{", "[]", '{"draft_id": 7, "edits": []}'):
        refused = ana.api("POST", path, json={"arguments_json": wrong}, expect=422)
        assert refused["code"] == "arguments_invalid"
    eva.api("POST", path, json={}, expect=404)
    assert ana.api("GET", f"/drafts/{draft['id']}/proposals")["items"] == []  # a dry run changes nothing
    decide(ana, call, "deny")
    ana.finished(sent["run"]["id"])
    other_tool = call_tool(ana, provider, "list_drafts")
    assert ana.api("POST", f"/tool-executions/{other_tool['id']}/dry-run", json={})["effect"] is None
