"""What servers say of their tools, and what of it was accepted: a description that changed is never taken over unseen."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict

from tertulia.tools.errors import ArgumentsInvalid
from tertulia.tools.validation import check_plain, is_schema

MAX_TOOLS = 200  # of one server
MAX_NAME = 100
MAX_DESCRIPTION = 10_000
MAX_SCHEMA = 32 * 1024  # bytes
MAX_TOGETHER = 512 * 1024  # bytes of all schemas and descriptions of a server
MAX_KNOWN = 1000  # names of tools that a server ever had; beyond it new ones are not taken


class Definition(BaseModel):
    """A tool as its server describes it. `hints` are the server's own word, and decide nothing."""

    model_config = ConfigDict(frozen=True)

    description: str
    parameters: dict[str, Any]
    title: str | None = None
    hints: dict[str, bool] = {}

    def is_same(self, other: "Definition") -> bool:
        """In what an approval covers."""
        return (self.description, self.parameters) == (other.description, other.parameters)


class PinnedTool(BaseModel):
    """A tool of a server: the definition that models are shown, and what the server says now where that is another.

    One that the server does not name any more is kept, so that its return with another definition is a change.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    accepted: Definition
    changed: Definition | None = None
    is_listed: bool = True


def size_of(definition: Definition) -> int:
    return len(definition.description) + len(orjson.dumps(definition.parameters))


def is_acceptable(name: str, definition: Definition) -> bool:
    """Whether a tool can be offered to models at all, and be stored. To find out takes time that its schema decides."""
    if not 0 < len(name) <= MAX_NAME or not name.isprintable() or len(definition.description) > MAX_DESCRIPTION:
        return False
    try:
        check_plain([definition.description, definition.title, definition.parameters])
        is_short = len(orjson.dumps(definition.parameters)) <= MAX_SCHEMA
    except (ArgumentsInvalid, orjson.JSONEncodeError):
        return False
    return is_short and is_schema(definition.parameters)


def pin(before: Sequence[PinnedTool], listed: Iterable[tuple[str, Definition]]) -> list[PinnedTool]:
    """What is known of a server's tools after it listed them: new ones are taken, changed ones wait to be accepted."""
    known = {one.name: one for one in before}
    now = dict(listed)
    found: list[PinnedTool] = []
    for name, definition in now.items():
        if name not in known and len(known) + len(found) >= MAX_KNOWN:
            continue
        accepted = known[name].accepted if name in known else definition
        is_same = definition.is_same(accepted)
        # A new title or hint changes nothing that anybody relies on.
        accepted, changed = (definition, None) if is_same else (accepted, definition)
        found.append(PinnedTool(name=name, accepted=accepted, changed=changed))
    gone = [one.model_copy(update={"is_listed": False, "changed": None}) for one in before if one.name not in now]
    return [*found, *gone]


def accept(tools: Sequence[PinnedTool]) -> list[PinnedTool]:
    """With what changed of those that are there taken over."""
    return [_accepted(one) if one.is_listed else one for one in tools]


def accept_one(
    tools: Sequence[PinnedTool], name: str, description: str, parameters: Mapping[str, Any]
) -> list[PinnedTool]:
    """With the change of one tool taken over, if it is still the one that was looked at."""
    seen = (description, dict(parameters))
    return [
        _accepted(one)
        if one.name == name and one.changed is not None and (one.changed.description, one.changed.parameters) == seen
        else one
        for one in tools
    ]


def _accepted(tool: PinnedTool) -> PinnedTool:
    return tool.model_copy(update={"accepted": tool.changed or tool.accepted, "changed": None})
