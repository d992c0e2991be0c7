"""Test the export of one chat as Markdown, HTML and JSON."""

from typing import Any

import pytest

from tests.conftest import SignIn
from tests.fakes.live_server import Client
from tests.fakes.scripted_provider import Finish, Reasoning, ScriptedProvider, Text


@pytest.fixture
def chat(ana: Client, provider: ScriptedProvider) -> dict[str, Any]:
    provider.play(
        [
            Reasoning("Let me see."),
            Text("It **rises**.\n\n<script>alert(1)</script> [go](javascript:alert(1))"),
            Finish(),
        ],
        [Text("Another answer."), Finish()],
    )
    chat = ana.chat(title='Bread & "butter" / <b>面包</b>')
    sent = ana.say(chat["id"], "Why does `bread` rise?")
    ana.finished(sent["run"]["id"])
    again = ana.api("POST", f"/messages/{sent['reply']['id']}/regenerate", json={}, expect=201)
    ana.finished(again["run"]["id"])
    ana.api("PUT", f"/chats/{chat['id']}/head", json={"message_id": sent["reply"]["id"]})
    return chat


def export(client: Client, chat_id: str, form: str) -> Any:
    answer = client.get(f"/chats/{chat_id}/export", params={"format": form})
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith(
        "attachment; filename*=UTF-8''Bread%20butter%20b%20%E9%9D%A2"
    )
    assert answer.headers["content-security-policy"].startswith("sandbox")
    return answer


def test_markdown_contains_the_shown_branch(ana: Client, chat: dict[str, Any]) -> None:
    text = export(ana, chat["id"], "markdown").text
    assert text.startswith('# Bread & "butter" / <b>面包</b>\n\n## Ana, 20')
    assert "Why does `bread` rise?\n\n## scripted, 20" in text
    assert "> Let me see.\n\nIt **rises**." in text
    assert "Another answer." not in text


def test_html_contains_the_branch_without_scripts(ana: Client, chat: dict[str, Any]) -> None:
    page = export(ana, chat["id"], "html").text
    assert "<strong>rises</strong>" in page
    assert "<code>bread</code>" in page
    assert "<title>Bread &amp; &quot;butter&quot; / &lt;b&gt;面包&lt;/b&gt;</title>" in page
    assert "<script" not in page
    assert 'href="javascript:' not in page
    assert "default-src 'none'" in page


def test_json_contains_every_branch(ana: Client, chat: dict[str, Any]) -> None:
    exported = export(ana, chat["id"], "json").json()
    assert (exported["format"], exported["chat"]["title"]) == ("tertulia.chat/1", chat["title"])
    question, *replies = exported["messages"]
    assert question["parts"] == [{"type": "text", "text": "Why does `bread` rise?"}]
    assert [reply["previous_message_id"] for reply in replies] == [question["id"]] * 2
    assert [reply["parts"][-1]["text"][:7] for reply in replies] == ["It **ri", "Another"]
    assert replies[0]["parts"][0]["type"] == "reasoning"


def test_an_empty_chat_with_an_unusable_title_is_exported(ana: Client) -> None:
    chat = ana.chat(title="???")
    for form in ("markdown", "html", "json"):
        answer = ana.get(f"/chats/{chat['id']}/export", params={"format": form})
        assert (answer.status_code, "UTF-8''chat." in answer.headers["content-disposition"]) == (200, True)
    ana.api("GET", f"/chats/{chat['id']}/export", params={"format": "pdf"}, expect=422)


def test_a_user_cannot_export_chats_of_others(ana: Client, chat: dict[str, Any], sign_in: SignIn) -> None:
    sign_in("bob").api("GET", f"/chats/{chat['id']}/export", expect=404)
