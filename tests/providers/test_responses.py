"""Test OpenAI's Responses API: models that lack it, pictures that another model makes, and told costs."""

import asyncio
import json
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from typing_extensions import override

from tertulia import clock
from tertulia.http.outbound import Timeouts, operator_client
from tertulia.providers.adapters import Access, build_adapter
from tertulia.providers.charges import charge_of
from tertulia.providers.errors import RequestRefused
from tertulia.providers.prices import cost_of, savings_of_cache
from tertulia.providers.protocol import FileOutput, ModelRequest, ProviderEvent, RequestMessage, TextDelta, Usage
from tertulia.providers.refusals import RefusedParameters
from tertulia.providers.vendors import BY_ID
from tests.fakes.raw_provider import RawProvider

AZURE = "The responses operation does not work with the specified model, gpt-35-turbo. Please choose different model."


class Server(RawProvider):
    """Refuses the Responses API with the given words, and answers with chat completions."""

    def __init__(self, refusal: str | None = None, *events: dict[str, Any]) -> None:
        super().__init__()
        self._refusal = refusal
        self._events = events
        self.paths: list[str] = []

    @override
    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.paths.append(handler.path.removeprefix("/v1"))
        is_refused = self._refusal is not None and handler.path.endswith("/responses")
        self.status = 400 if is_refused else 200
        self.headers = {"Content-Type": "application/json" if is_refused else "text/event-stream"}
        if is_refused:
            self.pieces = [json.dumps({"error": {"message": self._refusal, "code": "x"}}).encode()]
        else:
            chunk = {"choices": [{"delta": {"content": "Hello"}, "finish_reason": "stop"}]}
            self.pieces = [f"data: {json.dumps(event)}\n\n".encode() for event in self._events or (chunk,)]
        super().answer(handler)


def ask(server: Server, *, times: int = 1, vendor: str = "azure", **options: Any) -> list[ProviderEvent]:
    """Return the events of all replies, asked for with one memory of refusals."""
    request = ModelRequest("gpt-5.5", (RequestMessage("user", "Hi"),), max_tokens=None, **options)

    async def main() -> list[ProviderEvent]:
        async with operator_client(Timeouts()) as client:
            adapter = build_adapter(
                BY_ID[vendor],
                Access("key", server.url, {}),
                client,
                Timeouts(),
                shown_as="Vendor",
                refused=RefusedParameters(),
            )
            return [event for _ in range(times) async for events in adapter.stream(request) for event in events]

    try:
        return asyncio.run(main())
    finally:
        server.close()


@pytest.mark.parametrize(
    "refusal",
    [
        AZURE,
        "The requested operation is unsupported.",
        "The model `x` is not supported in the v1/responses endpoint.",
        "Responses API is not enabled for this deployment.",
    ],
)
def test_a_model_without_the_responses_api_is_asked_by_chat_completions(refusal: str) -> None:
    server = Server(refusal)
    events = ask(server, times=2)
    assert [event for event in events if isinstance(event, TextDelta)] == [TextDelta("Hello")] * 2
    assert server.paths == ["/responses", "/chat/completions", "/chat/completions"]


def test_another_refusal_is_told() -> None:
    server = Server("Your account is not active.")
    with pytest.raises(RequestRefused, match="not active"):
        ask(server)
    assert server.paths == ["/responses"]


DRAWN = {
    "type": "response.output_item.done",
    "output_index": 0,
    "item": {"type": "image_generation_call", "id": "ig_1", "result": "iVBORw0=", "output_format": "png"},
}
ENDED = {
    "type": "response.completed",
    "response": {"status": "completed", "output": [], "usage": {"input_tokens": 10, "output_tokens": 5}},
}


def test_pictures_are_offered_if_the_person_wants_them_and_their_price_is_unknown() -> None:
    server = Server(None, DRAWN, ENDED)
    drawn, usage, *_ = ask(server, make_pictures=True)
    assert server.requests[0]["tools"] == [{"type": "image_generation"}]
    assert drawn == FileOutput("image/png", "iVBORw0=")
    assert isinstance(usage, Usage)
    assert usage.is_unpriced
    assert cost_of(BY_ID["openai"], "gpt-5.5", usage, at=clock.now()) is None


@pytest.mark.parametrize(("vendor", "wanted"), [("azure", False), ("xai", True)])
def test_no_picture_is_offered_otherwise(vendor: str, wanted: bool) -> None:
    server = Server(None, ENDED)
    ask(server, vendor=vendor, make_pictures=wanted)
    assert "tools" not in server.requests[0]


def test_a_refused_picture_tool_is_left_out() -> None:
    class Unverified(Server):
        @override
        def answer(self, handler: BaseHTTPRequestHandler) -> None:
            self._refusal = "Your organization must be verified to use this." if "tools" in self.requests[-1] else None
            super().answer(handler)

    server = Unverified(None, ENDED)
    ask(server, make_pictures=True)
    assert [request.get("tools") for request in server.requests] == [[{"type": "image_generation"}], None]


@pytest.mark.parametrize(
    ("vendor", "usage", "charge"),
    [
        ("xai", {"cost_in_usd_ticks": 37_756_000}, "0.0037756"),
        ("xai", {"cost": 1}, None),
        ("openrouter", {"cost": 0.95, "cost_details": {"upstream_inference_cost": 19}}, "0.95"),
        ("openrouter", {"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": 1}}, "1.05"),
        ("openrouter", {"cost": 0.05, "is_byok": True, "cost_details": None}, None),
        ("openrouter", {"cost": "0.95"}, None),
        ("openrouter", {"cost": -1}, None),
        ("openrouter", {"cost": True}, None),
        ("openrouter", {"cost": 1e9}, None),
        ("openrouter", {"cost": float("nan")}, None),
        ("perplexity", {"cost": {"total_cost": 0.006}}, "0.006"),
        ("perplexity", {"cost": 3}, None),
        ("custom", {"cost": 3}, None),
    ],
)
def test_what_a_vendor_says_that_it_charges_is_the_cost(vendor: str, usage: dict[str, Any], charge: str | None) -> None:
    amount = charge_of(usage, vendor)
    assert amount == (None if charge is None else Decimal(charge))
    if amount is not None:
        assert cost_of(BY_ID[vendor], "any", Usage(10, 5, cost=amount), at=clock.now()) == round(amount, 6)


def test_what_the_cache_saves_is_computed_where_the_vendor_tells_the_cost() -> None:
    charged = Usage(100_000, 10, cached_tokens=90_000, cost=Decimal("0.5"))
    computed = Usage(100_000, 10, cached_tokens=90_000)
    vendor, now = BY_ID["xai"], clock.now()
    saved = [
        savings_of_cache(vendor, "grok-4", usage, cost_of(vendor, "grok-4", usage, at=now), at=now)
        for usage in (charged, computed)
    ]
    assert saved[0] == saved[1] != 0
