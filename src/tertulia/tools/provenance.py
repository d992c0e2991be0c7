"""Track what a run has read, and decide whether the person named the destination of a call. Pure functions.

Text can be rephrased, encoded or reduced to a PIN, so the arguments of a call are not compared with what was read.
A run that has read anything untrusted or private must ask before each call that can send data out, unless the person
named the destination.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import orjson
from typing_extensions import TypedDict

SourceKind = Literal[
    "web",  # a page of the web: its host
    "server",  # an MCP server: its name
    "tool",  # another tool: its name
    "file",  # an attached file: its name
    "person",  # another person who wrote in this chat: their name
    "import",  # an imported chat: the application it comes from
    "chat",  # another chat of the person: its id
    "draft",  # a draft of the person: its id
]
MAX_NAMES = 5  # of each kind that a card shows
_WORD = re.compile(r"[\w.\-]+")
_ADDRESS_LIKE = re.compile(r"\w[@/:.]\w|^[@#]\w")
_URL_PATTERN = re.compile(r"^https?://(\[[^\]]*\]|[^/?#:]*)", re.IGNORECASE)


class Source(TypedDict):
    """One thing that a run has read."""

    kind: SourceKind
    name: str


class SourceGroup(TypedDict):
    """The things of one kind that a run has read: their number, and the names of the first few."""

    kind: SourceKind
    names: list[str]
    count: int


def merge_sources(*groups: Iterable[Source]) -> list[Source]:
    """Return all sources, each once, in a stable order."""
    pairs = {(source["kind"], source["name"]) for group in groups for source in group}
    return [{"kind": kind, "name": name} for kind, name in sorted(pairs)]


def group_sources(sources: Iterable[Source]) -> list[SourceGroup]:
    """Group sources by kind, with the names of the first few of each."""
    names: dict[SourceKind, list[str]] = {}
    for source in merge_sources(sources):
        names.setdefault(source["kind"], []).append(source["name"])
    return [{"kind": kind, "names": items[:MAX_NAMES], "count": len(items)} for kind, items in names.items()]


def host_of(url: str) -> str | None:
    """Return the host of a URL in ASCII, exactly as the client that fetches it reads it. None if it is not valid."""
    try:
        return httpx.URL(url).raw_host.decode("ascii").lower().rstrip(".") or None
    except (httpx.InvalidURL, UnicodeDecodeError):
        return None


@dataclass(frozen=True)
class OwnWords:
    """The words that the person wrote in a chat, without those of other people, imports and file names."""

    words: frozenset[str]
    text: str

    @classmethod
    def of(cls, texts: Sequence[str]) -> "OwnWords":
        text = "\n".join(texts).casefold()
        return cls(frozenset(word.strip(".") for word in _WORD.findall(text)), text)

    def name_host(self, host: str) -> bool:
        """Return whether the person wrote this host, with or without `www.`."""
        if ":" in host:
            return f"[{host}]" in self.text
        bare = host.removeprefix("www.")
        return any(_as_ascii(word) in (bare, f"www.{bare}") for word in self.words if _may_be_host(word, bare))

    def name_destination(self, arguments: Mapping[str, Any], parameters: Mapping[str, Any]) -> bool:
        """Return whether the person named where a call of a tool without a host sends its arguments.

        Each value without spaces must be something that the person wrote, because it may be a destination. Longer texts
        can carry data, so one of those values must then look like an address: a person, channel, repository or host.
        True, false, null and values that the tool's schema lists count as written.
        """
        listed = {orjson.dumps(value) for value in _listed_values(parameters)}
        values = [str(value).strip() for value in _leaves(arguments) if orjson.dumps(value) not in listed]
        short = [value for value in values if value and not re.search(r"\s", value)]
        if not all(self._hold(value) for value in short):
            return False
        return all(self._hold(value) for value in values) or any(_ADDRESS_LIKE.search(value) for value in short)

    def _hold(self, value: str) -> bool:
        written = re.escape(value.casefold())
        return re.search(rf"(?<!\w){written}(?!\w)", self.text) is not None


def _may_be_host(word: str, bare: str) -> bool:
    return word.endswith(bare[-3:]) or not word.isascii()


def _as_ascii(word: str) -> str:
    return word if word.isascii() else host_of(f"http://{word}/") or ""


def pattern_names_destination(pattern: str) -> bool:
    """Return whether a rule's pattern for an argument limits where data goes, unlike `*` or `https://*`.

    In a URL the host must be written out; `*.example.org` covers the hosts of a domain.
    """
    url = _URL_PATTERN.match(pattern)
    if url is not None:
        host = url[1].removeprefix("*.")
        return "*" not in host and ("." in host or ":" in host or host.casefold() == "localhost")
    literal = pattern.strip("*")
    starts_a_url = "*" in pattern and "https://".startswith(literal.casefold().split("*")[0][:8])
    return bool(re.search(r"\w{2}", literal)) and not starts_a_url


def _leaves(value: object) -> Iterator[str | int | float]:
    match value:
        case str():
            yield value
        case bool():
            return
        case int() | float():
            yield value
        case Mapping():
            for key, item in value.items():
                yield str(key)
                yield from _leaves(item)
        case list():
            for item in value:
                yield from _leaves(item)


def _listed_values(schema: object) -> Iterator[object]:
    """Yield the values and names that a schema lists itself: enumerations, constants, and property names."""
    match schema:
        case Mapping():
            yield from schema.get("enum", ()) if isinstance(schema.get("enum"), list) else ()
            if "const" in schema:
                yield schema["const"]
            yield from properties if isinstance(properties := schema.get("properties"), Mapping) else ()
            for item in schema.values():
                yield from _listed_values(item)
        case list():
            for item in schema:
                yield from _listed_values(item)
