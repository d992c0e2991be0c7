"""Test what a reply can have with words, and what a person can ask of it: effort, search, pictures, refusals."""

import base64
import io
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image
from sqlalchemy.orm import Session

from tertulia.db.opening import plain_engine
from tertulia.runs.models import Run
from tertulia.settings import OperatorConfig
from tests.conftest import ServerMaker
from tests.factories.tool_calls import set_approval_rules, signed_in, wait_for_pending_calls
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import Call, Finish, Hold, Raw, ScriptedProvider, Status, Text
from tests.fakes.tools import Recorder
from tests.files import samples
from tests.files.test_files import ready
from tests.waiting import until


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n"


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def data_url(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


@pytest.fixture
def server(start_server: ServerMaker, provider: ScriptedProvider) -> LiveServer:
    provider.models = ["gpt-5.5"]
    return start_server(openai_base_url=provider.url, tools=[Recorder()])


def reply_of(ana: Client, sent: dict[str, Any]) -> dict[str, Any]:
    assert ana.finished(sent["run"]["id"])["error"] is None
    read: dict[str, Any] = ana.api("GET", f"/messages/{sent['reply']['id']}")
    return read


def test_a_chat_and_a_message_choose_how_long_the_model_thinks(ana: Client, provider: ScriptedProvider) -> None:
    chat = ana.chat(settings={"reasoning_effort": "high", "web_search": True})
    reply_of(ana, ana.say(chat["id"], "One"))
    assert (provider.requests[-1]["reasoning_effort"], provider.requests[-1]["web_search_options"]) == ("high", {})
    sent = ana.say(chat["id"], "Two", options={"reasoning_effort": "none", "web_search": False})
    reply = reply_of(ana, sent)
    assert provider.requests[-1]["reasoning_effort"] == "none"
    assert "web_search_options" not in provider.requests[-1]
    again = ana.api(
        "POST", f"/messages/{reply['id']}/regenerate", json={"options": {"reasoning_effort": "max"}}, expect=201
    )
    reply_of(ana, again)
    assert (provider.requests[-1]["reasoning_effort"], provider.requests[-1]["web_search_options"]) == ("xhigh", {})
    edited = ana.api(
        "POST",
        f"/messages/{sent['message']['id']}/edit",
        json={"content": "Three", "options": {"reasoning_effort": "low"}},
        expect=201,
    )
    reply_of(ana, edited)
    assert provider.requests[-1]["reasoning_effort"] == "low"
    reply_of(ana, ana.say(chat["id"], "Four"))
    assert provider.requests[-1]["reasoning_effort"] == "high"


def test_a_continued_reply_keeps_what_its_message_asked_for(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text("Half"), Hold()])
    sent = ana.say(ana.chat()["id"], "Go", options={"reasoning_effort": "low"})
    until(lambda: provider.requests)
    ana.api("POST", f"/runs/{sent['run']['id']}/cancel")
    ana.finished(sent["run"]["id"])
    provider.release()
    reply_of(ana, ana.api("POST", f"/messages/{sent['reply']['id']}/continue", expect=201))
    assert [request["reasoning_effort"] for request in provider.requests] == ["low", "low"]


@pytest.mark.parametrize("options", [{"reasoning_effort": "huge"}, {"temperature": 1}, {"web_search": "maybe"}])
def test_unknown_options_are_refused(ana: Client, options: dict[str, Any]) -> None:
    chat = ana.chat()
    ana.api("POST", f"/chats/{chat['id']}/messages", json={"content": "Hi", "options": options}, expect=422)


def test_a_required_call_is_asked_for_once(ana: Client, provider: ScriptedProvider) -> None:
    chat = ana.chat(settings={"tools": ["record"], "tool_choice": "required", "parallel_tool_calls": False})
    set_approval_rules(ana)
    provider.play([Call("record", {"text": "x"}), Finish("tool_calls")], [Text("Done."), Finish()])
    sent = ana.say(chat["id"], "Go")
    reply_of(ana, sent)
    choices = [(request["tool_choice"], request["parallel_tool_calls"]) for request in provider.requests]
    assert choices == [("required", False), ("auto", False)]


def test_the_pages_that_a_reply_cites_are_its_sources(ana: Client, provider: ScriptedProvider) -> None:
    def cited(url: str, title: str) -> dict[str, Any]:
        return {"annotations": [{"type": "url_citation", "url_citation": {"url": url, "title": title}}]}

    provider.play(
        [
            Raw(chunk({"content": "Bread rises ([one](https://example.org/a))."})),
            Raw(chunk(cited("https://example.org/a", "A page"))),
            Raw(chunk(cited("javascript:alert(1)", "Not a page"))),
            Raw(chunk(cited("https://example.org/b", "B" * 600) | {"content": " And falls."}, "stop")),
            Raw(b"data: [DONE]\n\n"),
        ]
    )
    sent = ana.say(ana.chat()["id"], "Why?")
    events = ana.run_events(sent["run"]["id"])
    text, first, second = reply_of(ana, sent)["parts"]
    assert text == {"type": "text", "text": "Bread rises ([one](https://example.org/a)). And falls."}
    assert first == {"type": "source", "url": "https://example.org/a", "title": "A page", "passages": []}
    assert (second["url"], second["title"]) == ("https://example.org/b", "B" * 500)
    added = [data["part"] for _, kind, data in events if kind == "part.added"]
    assert added == [first, second]


def test_a_refusal_is_shown_as_what_it_is(ana: Client, provider: ScriptedProvider) -> None:
    provider.play(
        [
            Raw(chunk({"role": "assistant", "content": None, "refusal": "I cannot "})),
            Raw(chunk({"refusal": "help with that."}, "stop")),
            Raw(b"data: [DONE]\n\n"),
        ]
    )
    chat = ana.chat()
    reply = reply_of(ana, ana.say(chat["id"], "Do harm"))
    assert reply["parts"] == [{"type": "refusal", "text": "I cannot help with that."}]
    assert (reply["content"], reply["finish_reason"]) == ("I cannot help with that.", "content_filter")
    reply_of(ana, ana.say(chat["id"], "Then not"))  # the chat goes on
    assert provider.requests[-1]["messages"][1]["content"] == "I cannot help with that."


def test_a_picture_that_a_model_makes_is_a_file_shown_in_the_reply(ana: Client, provider: ScriptedProvider) -> None:
    drawn = picture()
    provider.play(
        [
            Raw(chunk({"content": "Here it is."})),
            Raw(chunk({"images": [{"type": "image_url", "image_url": {"url": data_url(drawn)}}]}, "stop")),
            Raw(b"data: [DONE]\n\n"),
        ]
    )
    chat = ana.chat()
    sent = ana.say(chat["id"], "Draw")
    reply = reply_of(ana, sent)
    text, shown = reply["parts"]
    assert (text["text"], shown["type"], shown["width"], shown["height"]) == ("Here it is.", "image", 40, 30)
    assert ana.get(f"/attachments/{shown['attachment_id']}/content").content == drawn
    (listed,) = ana.api("GET", "/attachments")["items"]
    assert (listed["file_name"], listed["mime_type"]) == ("picture.png", "image/png")
    until(lambda: ana.api("GET", f"/attachments/{shown['attachment_id']}")["status"] == "ready")
    reply_of(ana, ana.say(chat["id"], "Make it blue"))
    _, answer, question = provider.requests[-1]["messages"]
    assert answer == {"role": "assistant", "content": "Here it is."}
    assert [piece["type"] for piece in question["content"]] == ["text", "image_url"]


def test_a_reply_of_a_picture_only_goes_on_in_the_chat(ana: Client, provider: ScriptedProvider) -> None:
    provider.play(
        [
            Raw(chunk({"images": [{"image_url": {"url": data_url(picture())}}]}, "stop")),
            Raw(b"data: [DONE]\n\n"),
        ]
    )
    chat = ana.chat()
    (shown,) = reply_of(ana, ana.say(chat["id"], "Draw"))["parts"]
    until(lambda: ana.api("GET", f"/attachments/{shown['attachment_id']}")["status"] == "ready")
    reply_of(ana, ana.say(chat["id"], "Make it blue"))
    (question,) = provider.requests[-1]["messages"]
    assert question["content"][0]["text"] == "Draw\n\nMake it blue"
    assert question["content"][1]["type"] == "image_url"


def test_a_picture_within_the_content_and_a_sound_are_kept_too(ana: Client, provider: ScriptedProvider) -> None:
    sound = base64.b64encode(bytes(4800)).decode()
    provider.play(
        [
            Raw(chunk({"content": [{"type": "image_url", "image_url": {"url": data_url(picture())}}]})),
            Raw(chunk({"audio": {"id": "a", "transcript": "Hello"}})),
            Raw(chunk({"audio": {"data": sound}})),
            Raw(chunk({}, "stop")),
            Raw(b"data: [DONE]\n\n"),
        ]
    )
    image, text, audio = reply_of(ana, ana.say(ana.chat()["id"], "Sing"))["parts"]
    assert (image["type"], text["text"], audio["type"]) == ("image", "Hello", "file")
    assert (audio["file_name"], audio["file_type"], audio["file_size"]) == ("audio.wav", "audio/wav", 4844)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("data:application/x-msdownload;base64,TVqQAAMAAAAEAAAA", "You can attach images"),
        ("data:image/png;base64,no base64", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_stored_fails_the_reply_and_keeps_its_words(
    ana: Client, provider: ScriptedProvider, bad: str, reason: str
) -> None:
    provider.play(
        [
            Raw(chunk({"content": "Here "})),
            Raw(chunk({"images": [{"image_url": {"url": bad}}]})),
            Raw(chunk({"content": "it is."}, "stop")),
            Raw(b"data: [DONE]\n\n"),
        ]
    )
    sent = ana.say(ana.chat()["id"], "Draw")
    run = ana.finished(sent["run"]["id"])
    assert (run["status"], run["error"]["code"]) == ("failed", "file_lost")
    assert reason in run["error"]["detail"]
    assert ana.api("GET", f"/messages/{sent['reply']['id']}")["content"] == "Here it is."


def test_a_search_of_the_vendor_counts_as_reading_the_web(
    ana: Client, provider: ScriptedProvider, server: LiveServer
) -> None:
    """Ask about later calls of the chat, because a page may have told the model what to do."""
    chat = ana.chat(settings={"web_search": True})
    reply_of(ana, ana.say(chat["id"], "What is new?"))
    engine = plain_engine(server.settings)
    with Session(engine) as session:
        sources = session.scalars(sa.select(Run.sources)).all()
    engine.dispose()
    assert sources == [[{"kind": "web", "name": "the web search of the model's provider"}]]
    ana.api("PATCH", f"/chats/{chat['id']}", json={"settings": {"web_search": False, "tools": ["record"]}})
    provider.play([Call("record", {"text": "x"}), Finish("tool_calls")])
    ana.say(chat["id"], "Go")
    (call,) = wait_for_pending_calls(ana)
    assert [group["kind"] for group in call["sources"]] == ["web"]


@pytest.fixture
def routed(start_server: ServerMaker, provider: ScriptedProvider) -> Iterator[Client]:
    """Offer models that take PDF as it is, and one that does not."""
    names = ("openai/gpt-5.5", "some/model")
    provider.models = list(names)
    own = OperatorConfig(provider="openrouter", api_key="key-of-router", base_url=provider.url, models=names)
    with closing(signed_in(start_server(providers=(own,), provider_connect_s=30.0))) as client:
        yield client


def test_a_pdf_reaches_a_model_that_reads_it_as_it_is_and_others_as_text(
    routed: Client, provider: ScriptedProvider
) -> None:
    content = samples.PDF
    file = ready(routed, "paper.pdf", content)
    chat = routed.chat(provider="openrouter", model_name="openai/gpt-5.5")
    reply_of(routed, routed.say(chat["id"], "What does it say?", attachment_ids=[file["id"]]))
    (message,) = provider.requests[-1]["messages"]
    text, document = message["content"]
    assert "walrus" not in text["text"]
    encoded = base64.b64encode(content).decode()
    url = f"data:application/pdf;base64,{encoded}"
    assert document == {"type": "file", "file": {"filename": "paper.pdf", "file_data": url}}
    items = routed.api("GET", f"/chats/{chat['id']}/context")["items"]
    assert items[0]["files"] == [{"name": "paper.pdf", "as_file": True}]
    routed.api("PATCH", f"/chats/{chat['id']}", json={"model_name": "some/model"})
    reply_of(routed, routed.say(chat["id"], "And now?"))
    assert "The quick brown walrus" in provider.requests[-1]["messages"][0]["content"]
    items = routed.api("GET", f"/chats/{chat['id']}/context")["items"]
    assert items[0]["files"] == [{"name": "paper.pdf", "as_file": False}]


def test_thoughts_without_their_opening_tag_become_thoughts(ana: Client, provider: ScriptedProvider) -> None:
    """Expect followers to get all parts again, so that nothing of the thoughts stays in the text."""
    provider.play([Text("I wonder.\n"), Text("</think>\n"), Text("\nBecause."), Finish()])
    sent = ana.say(ana.chat()["id"], "Why?")
    shown: dict[int, tuple[str, str]] = {}
    for _, kind, data in ana.run_events(sent["run"]["id"]):
        if kind == "message.reset":
            shown.clear()
        elif kind.endswith(".delta"):
            shown[data["part_index"]] = (kind, shown.get(data["part_index"], ("", ""))[1] + data["text"])
    assert list(shown.values()) == [("reasoning.delta", "I wonder.\n"), ("text.delta", "Because.")]
    thought, text = reply_of(ana, sent)["parts"]
    assert (thought["type"], thought["text"], text["text"]) == ("reasoning", "I wonder.\n", "Because.")


def test_what_a_model_refused_is_named_as_ignored(ana: Client, provider: ScriptedProvider) -> None:
    def ignored() -> list[str]:
        (model,) = [model for model in ana.api("GET", "/models")["items"] if model["model_name"] == "gpt-5.5"]
        names: list[str] = model["ignores"]
        return names

    assert ignored() == []
    provider.play([Status(400, "Unsupported parameter: 'temperature' is not supported with this model.")])
    reply_of(ana, ana.say(ana.chat(settings={"temperature": 0.5})["id"], "Hi"))
    assert ignored() == ["temperature"]


def test_a_model_without_tools_answers_without_them_if_asked_to(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Status(400, "gemma2 does not support tools")])
    sent = ana.say(ana.chat(settings={"tools": ["record"]})["id"], "Hi")
    assert ana.finished(sent["run"]["id"])["error"]["code"] == "model_takes_no_tools"
    again = ana.api(
        "POST", f"/messages/{sent['reply']['id']}/regenerate", json={"options": {"tools": False}}, expect=201
    )
    assert reply_of(ana, again)["content"] == "You said: Hi"
    assert ["tools" in request for request in provider.requests] == [True, False]


def test_pictures_that_a_model_refuses_are_mentioned_and_reported(ana: Client, provider: ScriptedProvider) -> None:
    file = ready(ana, "bird.png", picture())
    chat = ana.chat()
    provider.play([Status(400, "This model does not support image inputs")])
    reply = reply_of(ana, ana.say(chat["id"], "What is this?", attachment_ids=[file["id"]]))
    assert [(gap["kind"], gap["amount"]) for gap in reply["omissions"]] == [("picture", 1)]
    first, second = provider.requests
    assert [piece["type"] for piece in first["messages"][0]["content"]] == ["text", "image_url"]
    assert second["messages"][0]["content"] == "What is this? bird.png\n\n[a picture that this model cannot see]"
    reply = reply_of(ana, ana.say(chat["id"], "And now?"))  # it is remembered
    assert len(provider.requests) == 3
    assert [(gap["kind"], gap["amount"]) for gap in reply["omissions"]] == [("picture", 1)]


@pytest.mark.parametrize(("length", "is_offered"), [(6144, False), (6145, True)])
def test_a_model_can_read_on_in_a_file_that_is_too_long(
    start_server: ServerMaker, provider: ScriptedProvider, length: int, is_offered: bool
) -> None:
    """Expect it for more than one and a half characters a token of the window, without choosing the tool."""
    provider.models = ["gpt-5.5"]
    with closing(signed_in(start_server(openai_base_url=provider.url))) as ana:
        check_reading_on(ana, provider, length, is_offered=is_offered)


def check_reading_on(ana: Client, provider: ScriptedProvider, length: int, *, is_offered: bool) -> None:
    chat = ana.chat()
    ana.api("PATCH", f"/chats/{chat['id']}", json={"context_window_size": 4096})
    file = ready(ana, "long.txt", b"words " * 1024 + b"x" * (length - 6144))
    reply_of(ana, ana.say(chat["id"], "What does it say?", attachment_ids=[file["id"]]))
    offered = [tool["function"]["name"] for tool in provider.requests[-1].get("tools", ())]
    assert offered == (["read_attachment"] if is_offered else [])


def cite(url: str, title: str) -> dict[str, Any]:
    return {"annotations": [{"type": "url_citation", "url_citation": {"url": url, "title": title}}]}


def test_characters_that_no_database_takes_are_replaced_in_titles_and_refusals(
    ana: Client, provider: ScriptedProvider
) -> None:
    broken = b'{"annotations":[{"type":"url_citation","url_citation":{"url":"https://example.org/a","title":"A\\u0000\\ud800"}}]}'
    delta = b'data: {"choices":[{"index":0,"delta":%s}]}\n\n' % broken
    provider.play(
        [
            Raw(chunk({"content": "Bread."})),
            Raw(delta),
            Raw(chunk({"refusal": "No\x00more."}, "stop")),
            Raw(b"data: [DONE]\n\n"),
        ]
    )
    _, refusal, source = reply_of(ana, ana.say(ana.chat()["id"], "Why?"))["parts"]
    assert (source["title"], refusal["text"]) == ("A\ufffd?", "No\ufffdmore.")


def test_a_refusal_and_a_picture_that_a_summary_repeats_are_kept_once(ana: Client, provider: ScriptedProvider) -> None:
    shown = {"images": [{"image_url": {"url": data_url(picture())}}], "refusal": "No."}
    summary = {"choices": [{"index": 0, "message": {"role": "assistant", **shown}, "finish_reason": "stop"}]}
    provider.play(
        [Raw(chunk(shown)), Raw(b"data: " + json.dumps(summary).encode() + b"\n\n"), Raw(b"data: [DONE]\n\n")]
    )
    parts = reply_of(ana, ana.say(ana.chat()["id"], "Draw"))["parts"]
    assert [part["type"] for part in parts] == ["image", "refusal"]
    assert parts[1]["text"] == "No."


def test_the_sources_of_a_reply_have_a_limit(ana: Client, provider: ScriptedProvider) -> None:
    pages = [Raw(chunk(cite(f"https://example.org/{number}", "A page"))) for number in range(201)]
    provider.play([Raw(chunk({"content": "Bread."})), *pages, Raw(chunk({}, "stop")), Raw(b"data: [DONE]\n\n")])
    parts = reply_of(ana, ana.say(ana.chat()["id"], "Why?"))["parts"]
    assert len(parts) == 1 + 200


def test_a_continued_reply_keeps_the_text_that_was_read(ana: Client, provider: ScriptedProvider) -> None:
    provider.play([Text("The first half."), Hold()])
    sent = ana.say(ana.chat()["id"], "Go")
    until(lambda: ana.api("GET", f"/messages/{sent['reply']['id']}")["content"])
    ana.api("POST", f"/runs/{sent['run']['id']}/cancel")
    ana.finished(sent["run"]["id"])
    provider.release()
    provider.play([Text(" I think.\n</think>\n\nThe rest."), Finish()])
    again = ana.api("POST", f"/messages/{sent['reply']['id']}/continue", expect=201)
    (text,) = reply_of(ana, again)["parts"]
    assert (text["type"], text["text"][:15]) == ("text", "The first half.")


def test_a_reply_that_cites_pages_and_its_fork_have_read_the_web(ana: Client, provider: ScriptedProvider) -> None:
    """Count it although the chat's search is off: some models search for each reply."""
    chat = ana.chat(settings={"tools": ["record"]})
    provider.play(
        [Raw(chunk({"content": "News."} | cite("https://example.org/a", "A"), "stop")), Raw(b"data: [DONE]\n\n")]
    )
    reply = reply_of(ana, ana.say(chat["id"], "What is new?"))
    fork = ana.api("POST", f"/messages/{reply['id']}/fork", json={}, expect=201)
    provider.play([Call("record", {"text": "x"}), Finish("tool_calls")])
    ana.say(fork["id"], "Go")
    (call,) = wait_for_pending_calls(ana)
    assert [group["kind"] for group in call["sources"]] == ["web"]
