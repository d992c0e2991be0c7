"""Test the OpenAI-compatible adapter against valid, invalid and absent responses."""

import asyncio
import socket

import pytest

from tertulia.http.outbound import Timeouts, operator_client
from tertulia.providers.errors import (
    ContextTooLong,
    KeyRefused,
    MalformedReply,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
    RequestRefused,
)
from tertulia.providers.openai_compatible import OpenAICompatible
from tertulia.providers.protocol import (
    Finish as Finished,
)
from tertulia.providers.protocol import (
    ModelRequest,
    ProviderEvent,
    ReasoningDelta,
    RequestMessage,
    TextDelta,
    Usage,
)
from tertulia.providers.wire import Wire
from tests.fakes.scripted_provider import (
    Finish,
    Hold,
    Pause,
    Raw,
    Reasoning,
    Reset,
    ScriptedProvider,
    Status,
    Step,
    Text,
)

REQUEST = ModelRequest("scripted", (RequestMessage("user", "hi"),), max_tokens=100, temperature=0.5)


def ask(url: str, timeouts: Timeouts | None = None) -> list[ProviderEvent]:
    async def main() -> list[ProviderEvent]:
        waits = timeouts or Timeouts()
        async with operator_client(waits) as client:
            headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-secret-key"}
            adapter = OpenAICompatible(Wire("scripted", url, headers, client, waits, secret="sk-secret-key"))
            return [event async for events in adapter.stream(REQUEST) for event in events]

    return asyncio.run(main())


def test_a_reply_that_takes_too_long_times_out_also_for_a_slow_reader(provider: ScriptedProvider) -> None:
    """Raise ProviderTimeout from the adapter rather than a plain timeout in the caller's code."""
    provider.play([*[step for _ in range(200) for step in (Text("on "), Pause(0.02))], Finish()])

    async def main() -> None:
        waits = Timeouts(whole_s=0.5)
        async with operator_client(waits) as client:
            adapter = OpenAICompatible(Wire("scripted", provider.url, {}, client, waits))
            async for _ in adapter.stream(REQUEST):
                await asyncio.sleep(0.1)

    with pytest.raises(ProviderTimeout, match="for one reply"):
        asyncio.run(main())


def test_text_reasoning_usage_and_finish_become_provider_events(provider: ScriptedProvider) -> None:
    provider.play([Reasoning("hm"), Text("Hel"), Text("lo"), Finish("length", 11, 3)])
    assert ask(provider.url) == [
        ReasoningDelta("hm"),
        TextDelta("Hel"),
        TextDelta("lo"),
        Finished("length"),
        Usage(11, 3),
    ]


def test_the_request_contains_only_the_requested_fields(provider: ScriptedProvider) -> None:
    ask(provider.url)
    assert provider.requests == [
        {
            "model": "scripted",
            "messages": [{"role": "user", "content": "hi"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 100,
            "temperature": 0.5,
            "_authorization": "Bearer sk-secret-key",
        }
    ]


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ([Status(401)], KeyRefused),
        ([Status(403)], RequestRefused),
        ([Status(403, "Your API key lacks the scope")], KeyRefused),
        ([Status(404)], RequestRefused),
        ([Status(400, "bad")], RequestRefused),
        ([Status(400, "too long", "context_length_exceeded")], ContextTooLong),
        ([Status(400, "no room", "exceed_context_size_error")], ContextTooLong),
        ([Status(429)], RateLimited),
        ([Status(500)], ProviderUnavailable),
        ([Status(302)], RequestRefused),
        ([Text("half")], ProviderUnavailable),
        ([Text("half"), Reset()], ProviderUnavailable),
        ([Reset()], ProviderUnavailable),
        ([Raw(b"data: {not json}\n\n")], MalformedReply),
        ([Raw(b"data: [1, 2]\n\n")], MalformedReply),
        ([Raw(b'data: {"error": {"message": "overloaded"}}\n\n')], ProviderUnavailable),
        ([Raw(b"data: " + b"x" * (4 * 1024 * 1024 + 10))], MalformedReply),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_every_failure_becomes_one_of_our_error_kinds(
    provider: ScriptedProvider, script: list[Step], kind: type[Exception]
) -> None:
    if script == [Text("half")]:
        script = [Text("half"), Raw(b"\n"), Reset()]
    provider.play(script)
    with pytest.raises(ProviderError) as caught:
        ask(provider.url)
    assert type(caught.value) is kind
    assert "sk-secret-key" not in caught.value.detail


def test_retry_after_is_passed_on(provider: ScriptedProvider) -> None:
    provider.play([Status(429, headers=(("Retry-After", "17"),))])
    with pytest.raises(RateLimited) as caught:
        ask(provider.url)
    assert caught.value.retry_after_s == 17
    assert "17 seconds" in caught.value.detail


@pytest.mark.parametrize(
    ("script", "timeouts"),
    [
        ([Text("a"), Pause(2), Finish()], Timeouts(idle_s=0.2)),
        ([Text("a"), Hold(), Finish()], Timeouts(whole_s=0.3)),
    ],
    ids=["idle", "whole"],
)
def test_a_silent_or_endless_reply_times_out(
    provider: ScriptedProvider, script: list[Step], timeouts: Timeouts
) -> None:
    provider.play(script)
    with pytest.raises(ProviderTimeout):
        ask(provider.url, timeouts)


def test_a_provider_that_never_answers_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ProviderTimeout):
        ask(f"http://127.0.0.1:{silent.getsockname()[1]}/v1", Timeouts(first_byte_s=0.2))


def test_a_refused_connection_is_reported_as_unavailable(provider: ScriptedProvider) -> None:
    url = provider.url
    provider.close()
    with pytest.raises(ProviderUnavailable, match="cannot be reached"):
        ask(url)


@pytest.mark.parametrize(
    "odd",
    [
        b'data: {"choices": []}\n\n',
        b": comment\n\n",
        b"event: x\n\n",
        b'data: {"choices": [{"delta": {"content": null}}]}\n\n',
        b'data: {"choices": null, "usage": {"prompt_tokens": -5}}\n\n',
    ],
)
def test_events_without_content_are_ignored(provider: ScriptedProvider, odd: bytes) -> None:
    provider.play([Raw(odd), Text("fine"), Finish(usage=False)])
    events = ask(provider.url)
    assert [event for event in events if isinstance(event, TextDelta)] == [TextDelta("fine")]


def test_bytes_that_are_not_utf8_become_the_replacement_character(provider: ScriptedProvider) -> None:
    provider.play([Raw(b'data: {"choices": [{"delta": {"content": "a\xff\xfeb"}}]}\n\n'), Finish(usage=False)])
    assert ask(provider.url)[0] == TextDelta("a\ufffd\ufffdb")


def test_a_truncated_stream_is_an_error(provider: ScriptedProvider) -> None:
    whole = (
        b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\ndata: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
    )
    for cut in range(0, len(whole), 3):
        provider.play([Raw(whole[:cut]), Reset()])
        with pytest.raises(ProviderError):
            ask(provider.url)


def test_the_list_of_models_is_read(provider: ScriptedProvider) -> None:
    async def main() -> list[str]:
        async with operator_client(Timeouts()) as client:
            wire = Wire("scripted", provider.url, {}, client, Timeouts())
            return [model.model_name for model in await OpenAICompatible(wire).list_models()]

    assert asyncio.run(main()) == ["scripted", "scripted-2"]
