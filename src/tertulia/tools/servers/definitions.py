"""Tool definitions that servers list, and the accepted ones. A changed definition is not used before it is accepted."""

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
MAX_KNOWN = 1000  # tool names that a server ever listed; further new ones are ignored


class Definition(BaseModel):
    """A tool as its server describes it. `hints` are claims of the server and decide nothing."""

    model_config = ConfigDict(frozen=True)

    description: str
    parameters: dict[str, Any]
    title: str | None = None
    hints: dict[str, bool] = {}

    def is_same(self, other: "Definition") -> bool:
        """Return whether the fields that an approval covers are equal."""
        return (self.description, self.parameters) == (other.description, other.parameters)


class PinnedTool(BaseModel):
    """A tool of a server: the definition that models see, and in `changed` the server's current one if it differs.

    A tool that the server no longer lists is kept, so that a later return with another definition counts as a change.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    accepted: Definition
    changed: Definition | None = None
    is_listed: bool = True


def size_of(definition: Definition) -> int:
    return len(definition.description) + len(orjson.dumps(definition.parameters))


def is_acceptable(name: str, definition: Definition) -> bool:
    """Return whether a tool can be stored and offered to models. Takes time that depends on its schema."""
    if not 0 < len(name) <= MAX_NAME or not name.isprintable() or len(definition.description) > MAX_DESCRIPTION:
        return False
    try:
        check_plain([definition.description, definition.title, definition.parameters])
        is_short = len(orjson.dumps(definition.parameters)) <= MAX_SCHEMA
    except (ArgumentsInvalid, orjson.JSONEncodeError):
        return False
    return is_short and is_schema(definition.parameters)


def pin(before: Sequence[PinnedTool], listed: Iterable[tuple[str, Definition]]) -> list[PinnedTool]:
    """Merge a new listing into the known tools. New tools are accepted, changed ones wait to be accepted."""
    known = {tool.name: tool for tool in before}
    now = dict(listed)
    pinned: list[PinnedTool] = []
    for name, definition in now.items():
        if name not in known and len(known) + len(pinned) >= MAX_KNOWN:
            continue
        accepted = known[name].accepted if name in known else definition
        is_same = definition.is_same(accepted)
        # Approvals do not cover titles and hints, so changes to them apply at once.
        accepted, changed = (definition, None) if is_same else (accepted, definition)
        pinned.append(PinnedTool(name=name, accepted=accepted, changed=changed))
    unlisted = [
        tool.model_copy(update={"is_listed": False, "changed": None}) for tool in before if tool.name not in now
    ]
    return [*pinned, *unlisted]


def accept(tools: Sequence[PinnedTool]) -> list[PinnedTool]:
    """Accept the changes of all listed tools."""
    return [_accepted(tool) if tool.is_listed else tool for tool in tools]


def accept_one(
    tools: Sequence[PinnedTool], name: str, description: str, parameters: Mapping[str, Any]
) -> list[PinnedTool]:
    """Accept the change of one tool, if it is still the change that the person saw."""
    seen = (description, dict(parameters))
    return [
        _accepted(tool)
        if tool.name == name
        and tool.changed is not None
        and (tool.changed.description, tool.changed.parameters) == seen
        else tool
        for tool in tools
    ]


def _accepted(tool: PinnedTool) -> PinnedTool:
    return tool.model_copy(update={"accepted": tool.changed or tool.accepted, "changed": None})
