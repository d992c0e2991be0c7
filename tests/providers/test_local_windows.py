"""Test the windows that servers on the own machine tell outside of the compatible API."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tertulia.http.outbound import Timeouts, operator_client
from tertulia.providers.models import Capabilities, ListedModel
from tertulia.providers.openai_compatible import OpenAICompatible
from tertulia.providers.wire import Wire

LISTED = {"object": "list", "data": [{"id": "model-a"}, {"id": "model-b"}]}


class LocalServer:
    """A server that answers GET with these paths, and 404 for others."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"/v1/models": LISTED}
        self.paths: list[str] = []
        local = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                local.paths.append(self.path)
                answer = local.answers.get(self.path)
                body = json.dumps(answer or {"error": "Unexpected endpoint"}).encode()
                self.send_response(200 if answer else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def local() -> Iterator[LocalServer]:
    server = LocalServer()
    yield server
    server.close()


def models_of(local: LocalServer, vendor_id: str = "custom") -> list[ListedModel]:
    async def main() -> list[ListedModel]:
        async with operator_client(Timeouts()) as client:
            wire = Wire("Local", local.url, {}, client, Timeouts(), vendor_id=vendor_id)
            return await OpenAICompatible(wire).list_models()

    return asyncio.run(main())


def test_lm_studio_tells_what_is_loaded_and_what_each_model_can(local: LocalServer) -> None:
    local.answers["/api/v0/models"] = {
        "data": [
            {"id": "model-a", "type": "vlm", "max_context_length": 131072, "loaded_context_length": 8192, "capabilities": ["tool_use"]},
            {"id": "model-b", "type": "llm", "max_context_length": 32768},
        ]
    }  # fmt: skip
    first, second = models_of(local, "lmstudio")
    assert (first.context_window, first.capabilities) == (8192, Capabilities(vision=True, tools=True))
    assert (second.context_window, second.capabilities) == (32768, None)


def test_llama_cpp_tells_the_window_that_it_was_started_with(local: LocalServer) -> None:
    local.answers["/props"] = {"default_generation_settings": {"n_ctx": 4096}}
    assert [model.context_window for model in models_of(local)] == [4096, 4096]


@pytest.mark.parametrize("props", [None, [], {"default_generation_settings": {"n_ctx": "x"}}])
def test_others_tell_nothing(local: LocalServer, props: Any) -> None:
    local.answers["/props"] = props
    assert [model.context_window for model in models_of(local)] == [None, None]


def test_hosted_vendors_are_not_asked(local: LocalServer) -> None:
    models_of(local, "together")
    assert local.paths == ["/v1/models"]
