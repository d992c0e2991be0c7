"""What servers say of their tools, and what of it was accepted: a description that changed is never taken over unseen."""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from tertulia.tools.validation import is_schema

MAX_TOOLS = 200  # of one server
MAX_NAME = 100
MAX_DESCRIPTION = 10_000


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


def acceptable(name: object, description: object, parameters: object) -> bool:
    """Whether a tool can be offered to models at all."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= MAX_NAME
        and name.isprintable()
        and isinstance(description, str)
        and len(description) <= MAX_DESCRIPTION
        and "\x00" not in description
        and is_schema(parameters)
    )


def pin(before: Sequence[PinnedTool], listed: Iterable[tuple[str, Definition]]) -> list[PinnedTool]:
    """What is known of a server's tools after it listed them: new ones are taken, changed ones wait to be accepted."""
    known = {one.name: one for one in before}
    now = dict(listed)
    found = []
    for name, definition in now.items():
        accepted = known[name].accepted if name in known else definition
        is_same = definition.is_same(accepted)
        # A new title or hint changes nothing that anybody relies on.
        accepted, changed = (definition, None) if is_same else (accepted, definition)
        found.append(PinnedTool(name=name, accepted=accepted, changed=changed))
    gone = [one.model_copy(update={"is_listed": False}) for one in before if one.name not in now]
    return [*found[:MAX_TOOLS], *gone[:MAX_TOOLS]]


def accept(tools: Sequence[PinnedTool], name: str | None = None) -> list[PinnedTool]:
    """With the change of one tool, or of all, taken over."""
    return [
        one.model_copy(update={"accepted": one.changed, "changed": None})
        if one.changed is not None and name in (None, one.name)
        else one
        for one in tools
    ]
