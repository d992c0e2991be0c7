"""Call Anthropic's Messages API with our own thin client (docs/adr/0006)."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import orjson

from tertulia.providers.abilities import WITHOUT_SAMPLING, abilities_of
from tertulia.providers.anthropic_reading import KEPT_BLOCKS, AnthropicReading
from tertulia.providers.echo import rebuild_turn
from tertulia.providers.errors import MalformedReply
from tertulia.providers.models import ListedModel
from tertulia.providers.protocol import (
    MOST_SEARCHES,
    ModelRequest,
    ProviderEvent,
    RequestMessage,
)
from tertulia.providers.reading import read_reply
from tertulia.providers.reply_lengths import longest_reply
from tertulia.providers.request_rules import ECHO, LEFT_OUT, CallIds, repeat_without_refused
from tertulia.providers.values import count_of, list_of
from tertulia.providers.vendor_adapter import VendorAdapter
from tertulia.providers.wire import MAX_LISTED

VERSION = "2023-06-01"
MAX_TEMPERATURE = 1.0
MAX_PAGES = 20
MAX_PAUSES = 10  # of one reply
# Tokens of a reply, for a model that the table does not know. A refusal names the right number.
LONGEST_OF_NEWEST = 128_000
CACHE_CONTROL = "cache_control"
# Models that decide for themselves how long they think, and those of them that think without being asked to.
_ADAPTIVE = re.compile(r"claude-((fable|mythos)|(opus|sonnet)-4-[6-9]|(opus|sonnet|haiku)-[5-9])")
_THINKS_UNASKED = re.compile(r"claude-((fable|mythos)|(opus|sonnet|haiku)-[5-9])")
# Tokens of thoughts for models that take a number; the reply needs room too.
_BUDGETS = {"low": 2048, "medium": 8192, "high": 24_576}
MIN_BUDGET = 1024
MIN_AFTER_THOUGHTS = 1024
THINKING = "thinking"
OUTPUT_CONFIG = "output_config"
WEB_SEARCH = "web_search"
WEB_SEARCH_TOOL = {"type": "web_search_20250305", "name": WEB_SEARCH, "max_uses": MOST_SEARCHES}


_CALL_IDS = CallIds()


class Anthropic(VendorAdapter):
    async def list_models(self) -> list[ListedModel]:
        """List the models of all pages, newest first. Raises a ProviderError."""
        models: list[ListedModel] = []
        after = ""
        for _ in range(MAX_PAGES):
            page = await self._wire.get_json(f"/models?limit=100{after}")
            if not isinstance(page, dict) or not isinstance(page.get("data"), list):
                raise MalformedReply(f"{self.name} does not list its models in Anthropic's format.")
            models += [
                ListedModel(
                    model_name=entry["id"],
                    display_name=entry["display_name"][:200] if isinstance(entry.get("display_name"), str) else None,
                    context_window=count_of(entry.get("max_input_tokens")) or None,
                )
                for entry in page["data"]
                if isinstance(entry, dict) and isinstance(entry.get("id"), str) and len(entry["id"]) <= 100
            ]
            if not page.get("has_more") or not isinstance(page.get("last_id"), str):
                break
            after = f"&after_id={page['last_id']}"
        return models[:MAX_LISTED]

    async def count_tokens(self, model_name: str, text: str) -> int:
        body = {"model": model_name, "messages": [{"role": "user", "content": text}]}
        answer = await self._wire.post_json("/messages/count_tokens", body)
        if not isinstance(answer, dict) or not isinstance(answer.get("input_tokens"), int):
            raise MalformedReply(f"{self.name} does not count tokens in Anthropic's format.")
        return int(answer["input_tokens"])

    def stream(self, request: ModelRequest) -> AsyncIterator[Sequence[ProviderEvent]]:
        """Yield the reply. A parameter that the model refuses is left out, and the request is sent once more."""
        return repeat_without_refused(
            request,
            self._refused,
            self._wire,
            lambda request, refused: _body(request, refused, self._longest_reply(request), self._wire.vendor_id),
            self._read_whole,
            inner=lambda body: [
                CACHE_CONTROL,
                *(WEB_SEARCH for tool in list_of(body, "tools") if tool == WEB_SEARCH_TOOL),
            ],
        )

    async def _read_whole(self, body: Mapping[str, object]) -> AsyncGenerator[Sequence[ProviderEvent], None]:
        """Yield the reply. One that the vendor pauses during long searches is continued by sending it back."""
        reading = AnthropicReading(self._wire)
        for _ in range(MAX_PAUSES + 1):
            async with aclosing(read_reply(self._wire, "/messages", body, reading)) as reply:
                async for events in reply:
                    yield events
            if not reading.is_paused:
                return
            messages = body["messages"]
            assert isinstance(messages, list)
            body = {**body, "messages": [*messages, {"role": "assistant", "content": reading.resume()}]}
        raise MalformedReply(f"{self.name} paused the reply {MAX_PAUSES} times. Its text is kept. Continue it.")

    def _longest_reply(self, request: ModelRequest) -> int:
        """Return the limit that the API requires: the chat's, else the model's own, within the window."""
        wanted = request.max_tokens
        if wanted is None:
            wanted = longest_reply(request.model_name) or LONGEST_OF_NEWEST
            wanted = wanted if request.room is None else max(min(wanted, request.room), 1)
        return self._refused.longest_reply(self._wire.account, request.model_name, wanted)


def _body(request: ModelRequest, refused: frozenset[str], longest: int, vendor_id: str) -> dict[str, object]:
    marks = {} if CACHE_CONTROL in refused else {CACHE_CONTROL: {"type": "ephemeral"}}
    messages = _messages(request.messages, with_echoes=ECHO not in refused)
    _mark_for_cache(messages, marks)
    body: dict[str, object] = {
        "model": request.model_name,
        "messages": messages,
        "max_tokens": longest,
        "stream": True,
    }
    system = "\n\n".join(message.content for message in request.messages if message.role == "system")
    if system:
        body["system"] = [{"type": "text", "text": system, **marks}]
    body |= _thinking(request, longest, vendor_id)
    if request.response_schema is not None:
        config = body.get(OUTPUT_CONFIG)
        form = {"format": {"type": "json_schema", "schema": request.response_schema}}
        body[OUTPUT_CONFIG] = (config if isinstance(config, dict) else {}) | form
    body |= _tools(request, refused, marks, vendor_id, is_thinking=_is_thinking(body))
    body = {name: value for name, value in body.items() if name not in refused}
    # Many models accept only one of the two, so the temperature wins. The API has no penalties.
    if WITHOUT_SAMPLING.search(request.model_name) or _is_thinking(body):
        return body
    if request.temperature is not None and "temperature" not in refused:
        body["temperature"] = min(request.temperature, MAX_TEMPERATURE)
    elif request.top_p is not None and "top_p" not in refused:
        body["top_p"] = request.top_p
    return body


def _thinking(request: ModelRequest, longest: int, vendor_id: str) -> dict[str, object]:
    """Return how long the model thinks, in the form that it takes, and that its thoughts are shown."""
    word = abilities_of(vendor_id, request.model_name).word_for(request.effort)
    thinks_unasked = bool(_THINKS_UNASKED.search(request.model_name))
    shown: dict[str, object] = {THINKING: {"type": "adaptive", "display": "summarized"}}
    if word == "none":
        off = "between_tools" if "claude-sonnet-5-5" in request.model_name else "disabled"
        return {THINKING: {"type": off}} if thinks_unasked else {}
    if _ADAPTIVE.search(request.model_name):
        if word is not None:
            return shown | {OUTPUT_CONFIG: {"effort": word}}
        return shown if thinks_unasked else {}
    budget = min(_BUDGETS.get(word or "", 0), longest - MIN_AFTER_THOUGHTS)
    return {THINKING: {"type": "enabled", "budget_tokens": budget}} if budget >= MIN_BUDGET else {}


def _is_thinking(body: Mapping[str, object]) -> bool:
    """Return whether the request asks for thoughts: then no other temperature and no forced call are taken."""
    thinking = body.get(THINKING)
    return isinstance(thinking, dict) and thinking["type"] in ("enabled", "adaptive")


def _tools(
    request: ModelRequest, refused: frozenset[str], marks: Mapping[str, object], vendor_id: str, *, is_thinking: bool
) -> dict[str, object]:
    tools: list[dict[str, object]] = [
        {"name": tool.name, "description": tool.description, "input_schema": tool.parameters} for tool in request.tools
    ]
    abilities = abilities_of(vendor_id, request.model_name)
    if request.web_search and abilities.searches and WEB_SEARCH not in refused:
        tools.append(dict(WEB_SEARCH_TOOL))
    if not tools:
        return {}
    tools[-1] |= marks
    choice: dict[str, object] = {}
    is_forced = request.tool_choice == "required" and abilities.can_be_forced and not is_thinking
    if request.tools and request.tool_choice is not None:
        choice["type"] = "any" if is_forced else "none" if request.tool_choice == "none" else "auto"
    if request.tools and request.parallel_tool_calls is False and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return {"tools": tools} | ({"tool_choice": choice} if choice else {})


def _messages(messages: tuple[RequestMessage, ...], *, with_echoes: bool) -> list[dict[str, Any]]:
    """Merge neighbours of one role, and put a user message first, as the API requires."""
    merged: list[tuple[str, list[dict[str, object]]]] = []
    for message in messages:
        blocks = _blocks(message)
        if with_echoes and message.echo is not None:
            calls = [block for block in blocks if block["type"] == "tool_use"]
            blocks = rebuild_turn(message.echo, message.content, calls, as_text=_text_block, kept=KEPT_BLOCKS)
        if message.role == "system" or not blocks:
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if not merged and role == "assistant":
            merged.append(("user", [{"type": "text", "text": LEFT_OUT}]))
        if merged and merged[-1][0] == role:
            merged[-1][1].extend(blocks)
        else:
            merged.append((role, blocks))
    return [{"role": role, "content": blocks} for role, blocks in merged]


def _mark_for_cache(messages: list[dict[str, Any]], marks: Mapping[str, object]) -> None:
    """Mark the ends of the last two user messages: the next request finds there what this one has stored."""
    ends = [message["content"] for message in messages if message["role"] == "user" and message["content"]]
    for content in ends[-2:]:
        content[-1] |= marks


def _text_block(text: str, _place: object = None) -> dict[str, object]:
    return {"type": "text", "text": text}


def _blocks(message: RequestMessage) -> list[dict[str, object]]:
    if message.tool_call_id is not None:
        call_id = _CALL_IDS.fit(message.tool_call_id)
        return [{"type": "tool_result", "tool_use_id": call_id, "content": message.content}]
    blocks: list[dict[str, object]] = [{"type": "image", "source": _source(url)} for url in message.images]
    blocks += [{"type": "document", "source": _source(file.url), "title": file.name[:500]} for file in message.files]
    if message.content.strip():
        blocks.append(_text_block(message.content))
    for call in message.tool_calls:
        call_id = _CALL_IDS.fit(call.id)
        blocks.append({"type": "tool_use", "id": call_id, "name": call.name, "input": orjson.loads(call.arguments)})
    return blocks


def _source(url: str) -> dict[str, str]:
    if url.startswith("data:"):
        head, _, encoded = url.removeprefix("data:").partition(",")
        return {"type": "base64", "media_type": head.partition(";")[0], "data": encoded}
    return {"type": "url", "url": url}
