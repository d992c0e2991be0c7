"""Test the windows that people set for models whose servers do not tell them."""

from typing import Any

import pytest

from tertulia.accounts.models import MAX_MODEL_WINDOWS, MAX_WINDOW
from tests.conftest import SignIn
from tests.fakes.live_server import Client
from tests.fakes.scripted_provider import Finish, ScriptedProvider, Text


def set_window(client: Client, window: int | None, model_name: str = "scripted", *, expect: int = 204) -> Any:
    body = {"provider": "openai", "model_name": model_name, "context_window": window}
    return client.api("PUT", "/models/window", json=body, expect=expect)


def windows(client: Client) -> tuple[Any, Any, Any]:
    """Return the window of the model in the list, the one that was set, and the one of a chat's next request."""
    model = next(item for item in client.api("GET", "/models")["items"] if item["model_name"] == "scripted")
    chat = client.chat()["id"]
    return model["context_window"], model["own_window"], client.api("GET", f"/chats/{chat}/context")["window"]


def test_the_list_the_preview_and_the_request_use_it(ana: Client, provider: ScriptedProvider) -> None:
    assert windows(ana) == (None, None, 8192)
    set_window(ana, 400)
    assert windows(ana) == (400, 400, 400)
    chat = ana.chat()["id"]
    for number in range(6):
        provider.play([Text(f"Reply {number}. " + "word " * 40), Finish(usage=False)])
        ana.finished(ana.say(chat, f"Question {number}. " + "word " * 40)["run"]["id"])
    sent = " ".join(str(message["content"]) for message in provider.requests[-1]["messages"])
    assert "Question 0." not in sent
    assert "Question 5." in sent
    set_window(ana, None)
    assert windows(ana) == (None, None, 8192)


def test_it_belongs_to_the_account_and_the_model(ana: Client, sign_in: SignIn) -> None:
    set_window(ana, 400)
    set_window(ana, 500, "scripted-2")
    assert ana.api("GET", "/me")["preferences"]["model_windows"] == {
        "openai/scripted": 400,
        "openai/scripted-2": 500,
    }
    assert windows(ana)[0] == 400
    assert windows(sign_in("bob")) == (None, None, 8192)


@pytest.mark.parametrize(("window", "status"), [(255, 422), (256, 204), (MAX_WINDOW, 204), (MAX_WINDOW + 1, 422)])
def test_its_limits(ana: Client, window: int, status: int) -> None:
    set_window(ana, window, expect=status)


def test_the_number_of_own_windows_is_limited(ana: Client) -> None:
    many = {f"openai/m{number}": 4096 for number in range(MAX_MODEL_WINDOWS)}
    ana.api("PATCH", "/me", json={"preferences": {"model_windows": many}})
    problem = set_window(ana, 4096, "one-more", expect=409)
    assert problem["code"] == "too_many_windows"
    set_window(ana, 8192, "m0")
    set_window(ana, None, "m1")
    set_window(ana, 4096, "one-more")
    ana.api("PATCH", "/me", json={"preferences": {"model_windows": many | {"openai/x": 4096}}}, expect=422)


@pytest.mark.parametrize("name", ["a\nb", "a\t", "\x7f"])
@pytest.mark.parametrize("path", ["/models/window", "/models/favourite"])
def test_a_name_that_no_model_has_is_refused(ana: Client, path: str, name: str) -> None:
    body: dict[str, Any] = {"provider": "openai", "model_name": name}
    body |= {"context_window": 4096} if path.endswith("window") else {"is_favourite": True}
    assert "no line ends" in ana.api("PUT", path, json=body, expect=422)["detail"]
    ana.api("GET", "/me")
