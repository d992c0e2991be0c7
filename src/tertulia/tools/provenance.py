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
# What separates the words of a message: spaces, quotation marks, brackets, and signs around addresses.
_BETWEEN = re.compile(r"[\s\"'`«»„“”‘’<>()\[\]{}|,;*]+")
_CJK = re.compile(r"([\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]+)")
_URL = re.compile(r"https?://[^\s\"'<>()«»„“”‘’]+", re.IGNORECASE)
# Parts of any text that are a destination: mail addresses, web addresses, people and channels.
_ADDRESSES = re.compile(
    r"https?://[^\s\"'<>()«»„“”‘’]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+|(?<!\w)[@#][\w-]{2,}", re.IGNORECASE
)
_ADDRESS_LIKE = re.compile(r"\w[@/]\w|^[@#]\w|^[\w-]+(?:\.[\w-]+)+$")
# Names of arguments that say where something goes.
_RECIPIENTS = re.compile(
    r"^(to|cc|bcc|recipients?|e_?mails?|address(es)?|channels?|chat|users?|usernames?|people|groups?|rooms?|"
    r"repo(sitory)?|owner|url|uri|host|domain|webhook|destination|target|path|project)$",
    re.IGNORECASE,
)
# Words such as README.md and setup.py look like hosts, and are only hosts after http:// or www.
_FILE_ENDINGS = (
    "md",
    "py",
    "sh",
    "zip",
    "rs",
    "js",
    "ts",
    "txt",
    "pdf",
    "csv",
    "json",
    "html",
    "htm",
    "xml",
    "doc",
    "docx",
    "xlsx",
    "png",
    "jpg",
)
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
    """The words, hosts and text that the person wrote in a chat. The caller leaves out everything by others."""

    tokens: frozenset[str]
    hosts: frozenset[str]
    text: str

    @classmethod
    def of(cls, texts: Sequence[str]) -> "OwnWords":
        # In texts without spaces between words, an address can touch other letters.
        text = _CJK.sub(r" \1 ", "\n".join(texts).lower())
        tokens = frozenset(word.strip("_~.:!?") for word in _BETWEEN.split(text))
        hosts = {host_of(url.rstrip(".:!?")) for url in _URL.findall(text)} | {_bare_host(token) for token in tokens}
        return cls(tokens, frozenset(host for host in hosts if host), text)

    def name_host(self, host: str) -> bool:
        """Return whether the person wrote this host, with or without `www.`."""
        bare = host.removeprefix("www.")
        return bare in self.hosts or f"www.{bare}" in self.hosts

    def name_destination(self, arguments: Mapping[str, Any], parameters: Mapping[str, Any]) -> bool:
        """Return whether the person named where a call of a tool without a host sends its arguments.

        - Each address in any value, and each value without spaces, is something that the person wrote.
        - So is each value of an argument whose name says where something goes, such as `to` or `channel`.
        - Longer texts can carry data, so one of those arguments must then be an address.

        True, false, null and values that the tool's schema lists carry nothing, and name nothing.
        """
        listed = {orjson.dumps(value) for value in _listed_values(parameters)}
        values = [
            (name, str(value).strip()) for name, value in _leaves(arguments, "") if orjson.dumps(value) not in listed
        ]
        values = [(name, value) for name, value in values if value]
        if not values or not all(self._hold_addresses(value) for _, value in values):
            return False
        destinations = [value for name, value in values if _RECIPIENTS.match(name)]
        short = [value for _, value in values if not re.search(r"\s", value)]
        if not all(self._hold(value) for value in (*destinations, *short)):
            return False
        is_named = any(_ADDRESS_LIKE.search(value) for value in destinations)
        return is_named or all(self._hold(value) for _, value in values)

    def _hold_addresses(self, value: str) -> bool:
        for address in _ADDRESSES.findall(value):
            written = address.rstrip(".:!?")
            is_url = written.lower().startswith("http")
            if not (self.name_host(host_of(written) or "") if is_url else self._hold(written)):
                return False
        return True

    def _hold(self, value: str) -> bool:
        """Return whether the person wrote a value: as a whole word, or a text with spaces as it is."""
        written = value.lower()
        if not re.search(r"\s", written):
            return written in self.tokens
        return re.search(rf"(?<![\w.@/:+-]){re.escape(written)}(?![\w@/+-])", self.text) is not None


def _bare_host(token: str) -> str | None:
    """Return the host of a word without a scheme, such as `example.org/a`, or None."""
    host = re.split(r"[/?#]", token, maxsplit=1)[0]
    name = host.partition(":")[0]
    if "@" in host or "." not in name or (name.rpartition(".")[2] in _FILE_ENDINGS and not name.startswith("www.")):
        return None
    return host_of(f"http://{host}/")


def pattern_names_destination(name: str, pattern: str, *, has_host: bool) -> bool:
    """Return whether a rule's pattern for an argument says where data goes, unlike `*` or `https://*`.

    In a URL the host must be written out. `has_host` says that the tool sends its arguments to a host in them, so that only
    URLs count. Otherwise an address, or an argument that names a destination, may end with `*`; `*@example.org` names a domain.
    """
    url = _URL_PATTERN.match(pattern)
    if url is not None:
        is_whole = len(url[0]) == len(pattern)
        host = url[1].removesuffix("*") if is_whole else url[1]
        return "*" not in host and ("." in host or ":" in host or host.lower() == "localhost")
    if has_host:
        return False
    if re.fullmatch(r"\*@[\w-]+(\.[\w-]+)+", pattern):
        return True
    literal = pattern.removesuffix("*")
    starts_a_url = "https://".startswith(literal.lower()[:8])
    if "*" in literal or not re.search(r"\w{2}", literal) or (literal != pattern and starts_a_url):
        return False
    return bool(_RECIPIENTS.match(name) or _ADDRESS_LIKE.search(literal))


def _leaves(value: object, name: str) -> Iterator[tuple[str, str | int | float]]:
    """Yield each text and number with the name of its argument. Names inside are values too."""
    match value:
        case bool():
            return
        case str() | int() | float():
            yield name, value
        case Mapping():
            for key, item in value.items():
                yield "", str(key)
                yield from _leaves(item, str(key))
        case list():
            for item in value:
                yield from _leaves(item, name)


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
