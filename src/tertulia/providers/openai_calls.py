"""Gather the tool calls of a streamed reply of chat completions, also where indexes or ids are missing or change."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tertulia.providers.event_stream import is_whole
from tertulia.providers.protocol import ToolCall
from tertulia.providers.values import arguments_text, load_loosely


@dataclass
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    echo: dict[str, Any] | None = None

    @property
    def is_complete(self) -> bool:
        """Return whether the arguments are whole, so that another piece is another call, or a repetition."""
        return is_whole("".join(self.arguments).strip().encode("utf-8", "replace"))

    @property
    def whole_arguments(self) -> str:
        """Return the arguments as JSON text, which some servers encode twice."""
        text = "".join(self.arguments)
        if text.startswith('"'):
            with suppress(ValueError):
                inner = load_loosely(text.encode("utf-8", "replace"))
                text = inner if isinstance(inner, str) else text
        return text.encode("utf-8", "replace").decode() or "{}"

    def is_followed_by(self, call_id: str, name: str, arguments: str) -> bool:
        """Return whether a piece with the same index is another call. Ids may change from piece to piece."""
        if not name or not self.name:
            return False
        is_other_id = bool(call_id and self.id and call_id != self.id)
        if is_other_id and name != self.name and not self.arguments:
            return True
        return bool(arguments or is_other_id) and self.is_complete and (is_other_id or not call_id)

    def add(self, arguments: str, *, is_whole: bool) -> None:
        """Add a piece of the arguments. What is whole replaces what came before; a repetition is left out."""
        before = "".join(self.arguments).strip() if is_whole or arguments.startswith("{") else ""
        if is_whole or before == "{}":
            self.arguments[:] = [arguments]
        elif arguments and not (before and before == arguments.strip() and self.is_complete):
            self.arguments.append(arguments)


class StreamedCalls:
    """The tool calls of one reply, whose pieces servers number in many ways. `hold` bounds what is kept."""

    def __init__(self, hold: Callable[[str], str]) -> None:
        self._hold = hold
        self._calls: list[_Call] = []
        self._at_index: dict[int, _Call] = {}  # the call begun last at each index

    def __bool__(self) -> bool:
        return bool(self._calls)

    def events(self) -> list[ToolCall]:
        """Return the calls that have a name, with ids that are unique."""
        ids = set[str]()
        events: list[ToolCall] = []
        for index, call in enumerate(call for call in self._calls if call.name):
            call_id = plain(call.id) if call.id and call.id not in ids else f"{plain(call.id) or 'call'}_{index}"
            ids.add(call_id)
            events.append(ToolCall(call_id, plain(call.name), call.whole_arguments, call.echo))
        return events

    def take(self, deltas: object) -> None:
        """Collect the pieces of calls, also where indexes or ids are missing, repeated or changed."""
        for delta in deltas if isinstance(deltas, list) else [deltas]:
            if not isinstance(delta, dict):
                continue
            name, arguments = _read_call(delta)
            call_id = delta["id"] if isinstance(delta.get("id"), str) else ""
            call = self._call_of(delta.get("index"), call_id, name, arguments)
            call.id = call.id or call_id
            if isinstance(delta.get("extra_content"), dict):  # Google's signature of the thoughts before the call
                call.echo = {"extra_content": delta["extra_content"]}
            if name and name != call.name:
                call.name += name  # some servers split it
            self._hold(arguments)
            call.add(arguments, is_whole=isinstance(_arguments_of(delta), dict | list))

    def _call_of(self, index: object, call_id: str, name: str, arguments: str) -> _Call:
        """Return the call that a piece belongs to, which may be a new one."""
        if isinstance(index, str) and index.isascii() and index.isdigit():
            index = int(index)
        if isinstance(index, int):
            call = self._at_index.get(index)
            if call is None or call.is_followed_by(call_id, name, arguments):
                call = self._at_index[index] = self._begin()
            return call
        last = self._calls[-1] if self._calls else None
        if call_id:
            same = next((call for call in reversed(self._calls) if call.id == call_id), None)
            is_other = same is not None and bool(name and same.name) and (same.name != name or same.is_complete)
            return same if same is not None and not is_other else self._begin()
        return last if last is not None and not (name and last.name) else self._begin()

    def _begin(self) -> _Call:
        self._calls.append(_Call())
        return self._calls[-1]

    def complete(self, whole: object) -> None:
        """Take the arguments of a summary at the end for calls that were streamed without theirs."""
        for position, entry in enumerate(whole if isinstance(whole, list) else []):
            if not isinstance(entry, dict):
                continue
            same = [call for call in self._calls if call.id and call.id == entry.get("id")]
            call = same[0] if same else self._calls[position] if position < len(self._calls) else None
            if call is not None and not "".join(call.arguments).strip("{} "):
                call.arguments[:] = [_read_call(entry)[1]]


def _function_of(delta: dict[str, Any]) -> dict[str, Any]:
    function = delta.get("function")
    return function if isinstance(function, dict) else delta  # some servers send name and arguments flat


def _arguments_of(delta: dict[str, Any]) -> object:
    function = _function_of(delta)
    return next(
        (function[name] for name in ("arguments", "parameters", "input") if function.get(name) is not None), None
    )


def plain(text: str) -> str:
    """Return a name without halves of surrogate pairs and control characters, which cannot be stored."""
    return "".join(filter(str.isprintable, text.encode("utf-8", "replace").decode()))


def _read_call(delta: dict[str, Any]) -> tuple[str, str]:
    """Return the name and the arguments of a piece of a call; either may be empty."""
    name = _function_of(delta).get("name")
    return name if isinstance(name, str) else "", arguments_text(_arguments_of(delta))
