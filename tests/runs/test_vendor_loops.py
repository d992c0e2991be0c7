"""Test whole conversations with the newest models of each vendor, which refuse what their vendors document."""

import pytest

from tests.factories.tool_calls import set_approval_rules
from tests.fakes.live_server import Client
from tests.fakes.strict_vendors import CALLS, SLOWLY, VENDORS
from tests.files import samples
from tests.files.test_files import ready
from tests.runs.test_provider_echo import Talk, server, vendors  # noqa: F401 - fixtures
from tests.runs.test_provider_echo import talk as talk
from tests.waiting import until

EFFORTS = ("none", "minimal", "low", "medium", "high", "max")
MODELS = [
    (vendor.name, model) for vendor in (make() for make in VENDORS) for model in (vendor.efforts or {vendor.model: ""})
]
# What is sent does not depend on the database.
pytestmark = pytest.mark.parametrize("engine_kind", ["sqlite"], indirect=True)


@pytest.mark.parametrize(("name", "model"), MODELS)
def test_each_effort_is_taken_by_each_model(talk: Talk, name: str, model: str) -> None:
    """Include a required tool, which must not be forced where a vendor refuses that."""
    settings = {"tools": ["record"], "tool_choice": "required", "temperature": 0.5}
    talk.chat_id = talk.client.chat(settings=settings)["id"]
    for effort in EFFORTS:
        sent = talk.client.say(
            talk.chat_id, f"Hello {effort}", models=[talk.model(name, model)], options={"reasoning_effort": effort}
        )
        assert talk.client.finished(sent["run"]["id"])["status"] == "completed"
    refusals = talk.vendors.refusals.get(name, [])
    assert [refusal for refusal in refusals if "temperature" not in refusal] == []


@pytest.mark.parametrize(("name", "model"), MODELS)
def test_a_chat_goes_through_every_kind_of_turn(talk: Talk, name: str, model: str) -> None:
    """Call tools twice, go on, edit, show a picture and a PDF, stop in the middle, and continue."""
    client = talk.client
    picture = ready(client, "bird.png", samples.picture(64, 48))
    paper = ready(client, "paper.pdf", samples.PDF)
    talk.say("Hello", name, model)
    talk.say(f"Please {CALLS}", name, model)
    again = talk.say("And now?", name, model)
    edited = client.api(
        "POST", f"/messages/{again['message']['id']}/edit", json={"content": f"Rather {CALLS}"}, expect=201
    )
    talk.finish(edited)
    for file in (picture, paper):
        shown = client.say(talk.chat_id, "What is this?", models=[talk.model(name, model)], attachment_ids=[file["id"]])
        talk.finish(shown)
    half = client.say(talk.chat_id, f"Tell it {SLOWLY}", models=[talk.model(name, model)])
    until(lambda: text_of(client, half["reply"]["id"]))
    client.api("POST", f"/runs/{half['run']['id']}/cancel")
    client.finished(half["run"]["id"])
    before = text_of(client, half["reply"]["id"])
    talk.finish(client.api("POST", f"/messages/{half['reply']['id']}/continue", expect=201))
    assert len(text_of(client, half["reply"]["id"])) > len(before)
    talk.say(f"Once more {CALLS}", name, model)
    talk.say("Thank you", name, model)


@pytest.mark.parametrize("model", [model for name, model in MODELS if name == "google"])
def test_a_search_that_is_switched_on_is_offered_also_where_it_excludes_tools(talk: Talk, model: str) -> None:
    settings = {"tools": ["record"], "web_search": True}
    talk.chat_id = talk.client.chat(settings=settings)["id"]
    talk.say(f"Please {CALLS}", "google", model)
    tools = talk.vendors.vendors["google"].requests[-1]["tools"]
    searches_alone = model.startswith("gemini-2")
    assert ({"googleSearch": {}} in tools, len(tools)) == (True, 1 if searches_alone else 2)
    sent = talk.client.say(
        talk.chat_id, f"Please {CALLS}", models=[talk.model("google", model)], options={"web_search": False}
    )
    talk.finish(sent)
    assert [list(tool) for tool in talk.vendors.vendors["google"].requests[-1]["tools"]] == [["functionDeclarations"]]


def text_of(client: Client, message_id: str) -> str:
    return str(client.api("GET", f"/messages/{message_id}")["content"])


def test_every_vendor_has_its_newest_models(talk: Talk) -> None:
    set_approval_rules(talk.client)
    assert len(MODELS) > 30
    assert {name for name, _ in MODELS} == set(talk.vendors.vendors)
