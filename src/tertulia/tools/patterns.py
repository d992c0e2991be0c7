"""Whether the text of an argument matches a pattern of a rule. One sign is special: `*` stands for anything.

In an address it stands for anything within the part where it stands, so that a host is never matched by what comes after it; and what
climbs out of a folder is not matched by a pattern that allows what is in it.
"""

import posixpath
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_ADDRESS = re.compile(r"^(https?)://([^/?#]*)(.*)$", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"^(\[[^\]]*\]|[^:]*)(?::(.*))?$", re.DOTALL)
_PORTS = {"http": "80", "https": "443"}
_CLIMBS = re.compile(r"(^|[/\\])\.\.([/\\]|$)")


def matches(pattern: str, text: str, *, refuses: bool) -> bool:
    """`refuses`: the rule keeps from running what it matches, so that what may match does; else what may not match does not."""
    of_pattern = _ADDRESS.match(pattern)
    if not refuses:
        if of_pattern is not None:
            return _allows_address(of_pattern, text)
        return _matches_text(pattern, text) and not _leaves(pattern, text)
    # However its letters are written, by whatever way it goes, and however whoever follows it reads it.
    plain = text.casefold()
    if any(_matches_text(pattern.casefold(), one) for one in (plain, posixpath.normpath(plain))):
        return True
    return of_pattern is not None and any(_refuses_address(of_pattern, one) for one in (text, _as_followed(text)))


@dataclass(frozen=True)
class _Address:
    scheme: str
    host: str
    port: str
    rest: str  # path, query and fragment


def _allows_address(pattern: re.Match[str], text: str) -> bool:
    address = _address_of(text)
    if address is None or not _is_of_host(pattern, address):
        return False
    wanted = _rest_of(pattern) or "/"
    return _matches_text(wanted, address.rest) and not _leaves(wanted, address.rest)


def _refuses_address(pattern: re.Match[str], text: str) -> bool:
    address = _address_of(text)
    if address is None:
        return _ADDRESS.match(text.strip()) is not None  # an address that is written so that it misleads
    if not _is_of_host(pattern, address):
        return False
    wanted = _rest_of(pattern) or "*"
    path = posixpath.normpath(unquote(address.rest))
    return any(_matches_text(wanted, one) for one in (address.rest, unquote(address.rest), path))


def _is_of_host(pattern: re.Match[str], address: _Address) -> bool:
    scheme, authority, rest = pattern.groups()
    if not rest and authority != "*":
        authority = authority.removesuffix("*")  # https://example.org* is of that host alone, whatever its path
    host, port = _AUTHORITY.match(authority).groups()  # type: ignore[union-attr]
    return (
        scheme.lower() == address.scheme
        and _matches_text(host.strip("[]").lower(), address.host)
        and _matches_text(port or _PORTS[address.scheme], address.port)
    )


def _rest_of(pattern: re.Match[str]) -> str:
    _, authority, rest = pattern.groups()
    return rest or ("*" if authority.endswith("*") else "")


def _as_followed(text: str) -> str:
    """As browsers read an address: without tabs and line ends, with any slashes for the two."""
    joined = re.sub(r"[\t\r\n]", "", text).strip().replace("\\", "/")
    return re.sub(r"^(https?):/*", r"\1://", joined, flags=re.IGNORECASE)


def _address_of(text: str) -> _Address | None:
    """None for what is none, or is read differently by whoever reads it: with a name and password, or other signs in its host."""
    try:
        split = urlsplit(text)
        port = split.port
    except ValueError:
        return None
    scheme, host = split.scheme.lower(), (split.hostname or "").rstrip(".")
    is_plain = re.fullmatch(r"[a-z0-9.:_-]+", host) is not None
    if scheme not in _PORTS or not is_plain or split.username is not None or split.password is not None:
        return None
    if re.search(r"[\s\\\x00-\x1f]", text):
        return None
    path = split.path or "/"
    rest = path + (f"?{split.query}" if split.query else "") + (f"#{split.fragment}" if split.fragment else "")
    return _Address(scheme, host, str(port) if port is not None else _PORTS[scheme], rest)


def _leaves(pattern: str, text: str) -> bool:
    """Whether a text may lead out of what a pattern stands for; a pattern of stars alone stands for everything."""
    return "*" in pattern and pattern.strip("*") != "" and _climbs(text)


def _climbs(text: str) -> bool:
    return any(_CLIMBS.search(one) for one in (text, unquote(text), unquote(unquote(text))))


def _matches_text(pattern: str, text: str) -> bool:
    """The whole text, where `*` stands for anything; nothing else is special. Piece by piece, so that none is looked for twice."""
    first, *others = pattern.split("*")
    if not others:
        return text == pattern
    *middle, last = others
    if not text.startswith(first) or len(text) < len(first) + len(last) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in middle:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
