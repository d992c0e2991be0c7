"""Bring the messages of a request into the order and form that strict servers require."""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from tertulia.providers.protocol import RequestMessage

# Many servers require a user message first. This text replaces earlier messages if the branch begins with a reply.
LEFT_OUT = "(Earlier messages were left out.)"


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
            message = replace(message, content=content, images=before.images + message.images)
        merged.append(message)
    return merged


def _with_content(messages: Iterable[RequestMessage]) -> Iterator[RequestMessage]:
    for message in messages:
        has_content = message.content.strip() or message.images or message.tool_calls
        if message.role != "system" and (has_content or message.tool_call_id is not None):
            yield message


def _can_merge(before: RequestMessage, message: RequestMessage) -> bool:
    """Return whether two neighbours become one. The results of calls stay with the calls before them."""
    return message.role == before.role and message.role != "tool" and not before.tool_calls
