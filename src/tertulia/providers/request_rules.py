"""Bring the messages of a request into the order and form that strict servers require."""

import base64
import hashlib
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar

from tertulia.providers.errors import PicturesRefused, RequestRefused, ToolsRefused
from tertulia.providers.protocol import ModelRequest, PicturesLeftOut, ProviderEvent, RequestMessage
from tertulia.providers.wire import Wire

# Many servers require a user message first. This text replaces earlier messages if the branch begins with a reply.
LEFT_OUT = "(Earlier messages were left out.)"


# Parameters that a request can go without. The two names of the token limit replace each other.
DROPPABLE = (
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "stream_options",
    "reasoning_content",
    "reasoning_details",
    "include",
    "reasoning",
    "prompt_cache_key",
    "cache_control",
    "reasoning_effort",
    "thinking",
    "think",
    "output_config",
    "verbosity",
    "text",
    "tool_choice",
    "parallel_tool_calls",
    "web_search_options",
    "web_search",
    "image_generation",
    "googleSearch",
    "plugins",
    "modalities",
    "thinkingConfig",
    "frequencyPenalty",
    "presencePenalty",
    "topP",
)
# Refusals that do not name the parameter.
_UNNAMED = {
    "include": re.compile("encrypted content is not supported", re.IGNORECASE),
    "reasoning": re.compile("generate reasoning summar", re.IGNORECASE),
    "web_search": re.compile("web.?search.{0,80}(support|enabled|available|permitted|allowed)", re.IGNORECASE),
    "image_generation": re.compile(
        "image.?generation.{0,80}(support|enabled|available|permitted|allowed|verified)|must be verified", re.IGNORECASE
    ),
    "googleSearch": re.compile(
        "(search.{0,20}(grounding|tool)|google.?search).{0,60}not supported|tool use with function calling is unsupported",
        re.IGNORECASE,
    ),
    "thinkingConfig": re.compile(
        "thinking.{0,60}(not (enabled|supported)|is invalid)|budget .{0,20}invalid", re.IGNORECASE
    ),
    "frequencyPenalty": re.compile("penalty is not enabled", re.IGNORECASE),
    "presencePenalty": re.compile("penalty is not enabled", re.IGNORECASE),
}
# The setting of a chat that a parameter belongs to.
SETTINGS = {
    "temperature": "temperature",
    **dict.fromkeys(("top_p", "topP", "p"), "top_p"),
    **dict.fromkeys(("frequency_penalty", "frequencyPenalty"), "frequency_penalty"),
    **dict.fromkeys(("presence_penalty", "presencePenalty"), "presence_penalty"),
    **dict.fromkeys(
        ("reasoning", "reasoning_effort", "thinking", "think", "output_config", "thinkingConfig"), "reasoning_effort"
    ),
    **dict.fromkeys(("verbosity", "text"), "verbosity"),
    "tool_choice": "tool_choice",
    "parallel_tool_calls": "parallel_tool_calls",
    "image_generation": "make_pictures",
    **dict.fromkeys(("web_search", "web_search_options", "googleSearch", "plugins"), "web_search"),
}
TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
# A limit of the reply that is above the model's own, such as `max_tokens: 128000 > 64000`.
_TOO_MANY_TOKENS = re.compile(
    r"max_(completion_|output_)?tokens.{0,80}(>|too large|less than or equal|maximum|at most|exceed)", re.IGNORECASE
)
MIN_LONGEST = 256  # tokens; smaller numbers in a refusal are something else
# The name of the echoes among the names of the parameters that were sent.
ECHO = "echo"
PICTURES = "pictures"
UNSEEN = "[a picture that this model cannot see]"
_BAD_ECHO = re.compile(r"signature|encrypted|thinking.{0,60}block|reasoning.{0,20}item", re.IGNORECASE)
MAX_DROPS = 4  # requests that are repeated without a parameter
MAX_REMEMBERED = 1000
_COMPLAINS = re.compile(
    r"support|may (only|not) be|cannot be used|unknown|unrecogni[sz]ed|unexpected|extra inputs|not permitted|deprecated|cannot both|not compatible",
    re.IGNORECASE,
)
_NO_TOOLS = re.compile(
    r"no endpoints found that support tool|(not|n't) support (\w+ ){0,2}(tool|function)|(tools?|functions?|tool use)( \w+){0,3} (is|are) not supported|"
    r"enable-auto-tool-choice",
    re.IGNORECASE,
)
_NO_PICTURES = re.compile(
    r"no endpoints found that support image|(not|n't) support (\w+ ){0,3}(image|vision|picture)|images?( \w+){0,3} (is|are) not supported|"
    r"unknown variant .image_url",
    re.IGNORECASE,
)


T = TypeVar("T")


class RefusedParameters:
    """Parameters that models refuse, learned from their answers. Held in memory, for the models used last."""

    def __init__(self) -> None:
        self._names: OrderedDict[tuple[str, str], frozenset[str]] = OrderedDict()
        self._by_vendor: OrderedDict[tuple[str, str], frozenset[str]] = OrderedDict()
        self._longest: OrderedDict[tuple[str, str], int] = OrderedDict()  # tokens of a reply
        self._wanted: OrderedDict[tuple[str, str], int] = OrderedDict()  # the limit of the last request

    def of(self, address: str, model_name: str) -> frozenset[str]:
        return self._names.get((address, model_name), frozenset())

    def ignored_by(self, vendor_id: str, model_name: str) -> frozenset[str]:
        """Return the settings of a chat that a model was seen to refuse, at any address of its vendor."""
        names = self._by_vendor.get((vendor_id, model_name), frozenset())
        return frozenset(SETTINGS[name] for name in names if name in SETTINGS)

    def remember(self, address: str, model_name: str, name: str) -> None:
        """Remember that a model refuses something at an address."""
        _remember(self._names, (address, model_name), self.of(address, model_name) | {name})

    def learn(
        self, address: str, model_name: str, refusal: RequestRefused, sent: Collection[str], *, vendor_id: str = ""
    ) -> bool:
        """Find in a refusal the sent parameter that it is about. Return False if it is about none."""
        key = (address, model_name)
        most = _most_tokens(refusal.said, self._wanted.get(key, 0))
        if most is not None:
            _remember(self._longest, key, most)
            return True
        name = _refused_name(refusal.said, sent)
        if name is None or name in self.of(address, model_name):
            return False
        self.remember(address, model_name, name)
        known = self._by_vendor.get((vendor_id, model_name), frozenset())
        _remember(self._by_vendor, (vendor_id, model_name), known | {name})
        return True

    def longest_reply(self, address: str, model_name: str, wanted: int) -> int:
        """Return the wanted limit of a reply in tokens, or the most that the model accepts if that is known and less."""
        longest = min(wanted, self._longest.get((address, model_name), wanted))
        _remember(self._wanted, (address, model_name), longest)
        return longest


def _remember(values: OrderedDict[tuple[str, str], T], key: tuple[str, str], value: T) -> None:
    values[key] = value
    values.move_to_end(key)
    while len(values) > MAX_REMEMBERED:
        values.popitem(last=False)


def _most_tokens(said: str, wanted: int) -> int | None:
    """Return the longest reply that a refusal names: the largest number below the one that was refused."""
    if not _TOO_MANY_TOKENS.search(said):
        return None
    numbers = map(int, re.findall(r"(?<![\w.-])\d{2,7}(?![\w-])", said.replace(",", "")))
    return max((number for number in numbers if MIN_LONGEST <= number < wanted), default=None)


def _refused_name(said: str, sent: Collection[str]) -> str | None:
    if PICTURES in sent and _NO_PICTURES.search(said):
        return PICTURES
    unnamed = next((name for name, words in _UNNAMED.items() if name in sent and words.search(said)), None)
    if unnamed is not None or not _COMPLAINS.search(said):
        return unnamed
    named = [name for name in (*TOKEN_LIMITS, *DROPPABLE) if re.search(rf"\b{name}\b", said)]
    return next((name for name in named if name in sent), None)


async def repeat_without_refused(
    request: ModelRequest,
    refused: RefusedParameters,
    wire: Wire,
    build: Callable[[ModelRequest, frozenset[str]], Mapping[str, object]],
    send: Callable[[Mapping[str, object]], AsyncGenerator[Sequence[ProviderEvent], None]],
    *,
    inner: Collection[str] = (),
) -> AsyncIterator[Sequence[ProviderEvent]]:
    """Yield the reply of a request, which is sent once more without a parameter that the model refuses.

    So is one whose echoes are refused, such as thoughts that another key of the same vendor encrypted, and one with
    pictures for a model that sees none. `build` returns the body of a request without the refused parameters, and `send`
    its reply. `inner`: names within the body that may be refused, too. Raises a ProviderError.
    """
    address, model_name, has_echoes = wire.base_url, request.model_name, has_echo(request.messages)
    dropped = frozenset[str]()
    pictures = sum(len(message.images) for message in request.messages)
    for attempt in range(MAX_DROPS + 1):
        without = refused.of(address, model_name) | dropped
        is_blind = PICTURES in without and pictures > 0
        body = build(_without_pictures(request) if is_blind else request, without)
        sent = {*body, *(set(inner) - without), *({ECHO} - dropped if has_echoes else ())}
        sent |= {PICTURES} if pictures and not is_blind else set()
        reply, has_begun = send(body), False
        try:
            async with aclosing(reply):
                async for events in reply:
                    yield [PicturesLeftOut(pictures), *events] if is_blind else events
                    is_blind, has_begun = False, True
            return
        except RequestRefused as refusal:
            if attempt == MAX_DROPS or has_begun:
                raise explained(refusal, model_name) from refusal
            is_about_echo = ECHO in sent and _BAD_ECHO.search(refusal.said)
            if not is_about_echo and refused.learn(address, model_name, refusal, sent, vendor_id=wire.vendor_id):
                continue
            if ECHO not in sent:
                raise explained(refusal, model_name) from refusal
            dropped |= {ECHO}  # it may be the reason, and is for this request only: the next one may be accepted


def _without_pictures(request: ModelRequest) -> ModelRequest:
    """Return a request in which each picture is only mentioned."""
    return replace(
        request,
        messages=tuple(
            replace(
                message,
                images=(),
                content="\n\n".join(filter(None, (message.content, *[UNSEEN] * len(message.images)))),
            )
            if message.images
            else message
            for message in request.messages
        ),
    )


def explained(refusal: RequestRefused, model_name: str) -> RequestRefused:
    """Return a refusal of tools or pictures with what to do about it. Others are returned unchanged."""
    if _NO_TOOLS.search(refusal.said):
        advice = f"{model_name} takes no tools. Answer without them, or choose another model."
        return ToolsRefused(f"{advice} {refusal.detail}", said=refusal.said)
    if _NO_PICTURES.search(refusal.said):
        advice = f"{model_name} takes no pictures. Remove them, or choose another model."
        return PicturesRefused(f"{advice} {refusal.detail}", said=refusal.said)
    return refusal


@dataclass(frozen=True)
class CallIds:
    """The form of tool call ids that a vendor accepts. Ids of another vendor in the same chat may have another form."""

    pattern: str = "[a-zA-Z0-9_-]{1,64}"
    length: int = 24  # of a new id, in letters and digits

    def fit(self, call_id: str) -> str:
        """Return the id if its form is accepted, else always the same other id for it."""
        if re.fullmatch(self.pattern, call_id):
            return call_id
        digest = base64.b32encode(hashlib.sha256(call_id.encode("utf-8", "replace")).digest()).decode()
        return digest[: self.length]


def alternating(messages: Iterable[RequestMessage]) -> list[RequestMessage]:
    """Merge system texts into one at the beginning, and neighbours of one role, with a user message first.

    Two messages of a user follow each other after a reply that failed. Messages without any content are left out.
    """
    messages = list(messages)
    system = "\n\n".join(message.content for message in messages if message.role == "system" and message.content)
    merged: list[RequestMessage] = [RequestMessage("system", system)] if system else []
    for message in _with_content(messages):
        if not merged or merged[-1].role == "system":
            if message.role != "user":
                merged.append(RequestMessage("user", LEFT_OUT))
        elif _can_merge(merged[-1], message):
            before = merged.pop()
            content = "\n\n".join(filter(None, (before.content, message.content)))
            message = replace(
                message,
                content=content,
                images=before.images + message.images,
                files=before.files + message.files,
                echo=None,
            )
        merged.append(message)
    return merged


def _with_content(messages: Iterable[RequestMessage]) -> Iterator[RequestMessage]:
    for message in messages:
        has_content = message.content.strip() or message.images or message.files or message.tool_calls
        if message.role != "system" and (has_content or message.tool_call_id is not None):
            yield message


def _can_merge(before: RequestMessage, message: RequestMessage) -> bool:
    """Return whether two neighbours become one. The results of calls stay with the calls before them."""
    return message.role == before.role and message.role != "tool" and not before.tool_calls


def has_echo(messages: Iterable[RequestMessage]) -> bool:
    """Return whether a request returns anything to the vendor that gave it."""
    return any(
        message.echo is not None or any(call.echo is not None for call in message.tool_calls) for message in messages
    )
