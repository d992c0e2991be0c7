"""Bring the messages of a request into the order and form that strict servers require."""

import base64
import hashlib
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from tertulia.providers.error_words import refuses_pictures, refuses_tools
from tertulia.providers.errors import PicturesRefused, RequestRefused, ToolsRefused
from tertulia.providers.protocol import ModelRequest, PicturesLeftOut, ProviderEvent, RequestMessage
from tertulia.providers.refusals import PICTURES, SYSTEM, RefusedParameters
from tertulia.providers.wire import Wire

# Many servers require a user message first. This text replaces earlier messages if the branch begins with a reply.
LEFT_OUT = "(Earlier messages were left out.)"


# The name of the echoes among the names of the parameters that were sent.
ECHO = "echo"
UNSEEN = "[a picture that this model cannot see]"
_BAD_ECHO = re.compile(r"signature|encrypted|thinking.{0,60}block|reasoning.{0,20}item", re.IGNORECASE)
MAX_DROPS = 4  # requests that are repeated without a parameter


async def repeat_without_refused(
    request: ModelRequest,
    refused: RefusedParameters,
    wire: Wire,
    build: Callable[[ModelRequest, frozenset[str]], Mapping[str, object]],
    send: Callable[[Mapping[str, object]], AsyncGenerator[Sequence[ProviderEvent], None]],
    *,
    inner: Callable[[Mapping[str, object]], Iterable[str]] | None = None,
) -> AsyncGenerator[Sequence[ProviderEvent], None]:
    """Yield the reply of a request, which is sent once more without a parameter that the model refuses.

    So is one whose echoes are refused, such as thoughts that another key of the same vendor encrypted, and one with
    pictures for a model that sees none. `build` returns the body of a request without the refused parameters, and `send`
    its reply. `inner` returns the names within a body that may be refused, too. Raises a ProviderError.
    """
    account, model_name, has_echoes = wire.account, request.model_name, has_echo(request.messages)
    dropped = frozenset[str]()
    pictures = sum(len(message.images) for message in request.messages)
    for attempt in range(MAX_DROPS + 1):
        without = refused.of(account, model_name) | dropped
        is_blind = PICTURES in without and pictures > 0
        seen = _without_pictures(request) if is_blind else request
        body = build(_without_system(seen) if SYSTEM in without else seen, without)
        nested = body if inner is None else {**body, **dict.fromkeys(set(inner(body)) - without)}
        sent = {*nested, *({ECHO} - dropped if has_echoes else ())}
        sent |= {PICTURES} if pictures and not is_blind else set()
        sent |= {SYSTEM} if SYSTEM not in without and any(item.role == "system" for item in request.messages) else set()
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
            if refuses_tools(refusal.said):
                raise explained(refusal, model_name) from refusal
            is_about_echo = ECHO in sent and _BAD_ECHO.search(refusal.said)
            if not is_about_echo and refused.learn(account, model_name, refusal, sent):
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


def _without_system(request: ModelRequest) -> ModelRequest:
    """Return a request whose instructions are in the first message of a person, for models that take no others."""
    words = "\n\n".join(message.content for message in request.messages if message.role == "system")
    others = [message for message in request.messages if message.role != "system"]
    at = next((index for index, message in enumerate(others) if message.role == "user"), None)
    if at is None:
        return replace(request, messages=(RequestMessage("user", words), *others))
    others[at] = replace(others[at], content=f"{words}\n\n{others[at].content}")
    return replace(request, messages=tuple(others))


def explained(refusal: RequestRefused, model_name: str) -> RequestRefused:
    """Return a refusal of tools or pictures with what to do about it. Others are returned unchanged."""
    if refuses_tools(refusal.said):
        advice = f"{model_name} takes no tools. Answer without them, or choose another model."
        return ToolsRefused(f"{advice} {refusal.detail}", said=refusal.said)
    if refuses_pictures(refusal.said):
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
