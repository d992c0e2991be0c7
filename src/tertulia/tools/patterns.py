"""Match the text of an argument against a rule's pattern. `*` matches any text; no other character is special.

In a URL, `*` matches only within its part of the URL, so a path can never match the pattern of a host. A pattern that
allows the content of a folder does not match paths that leave the folder.
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
    """Return whether the pattern matches. In doubt, it does for a rule that blocks calls (`refuses`), else not."""
    pattern_url = _ADDRESS.match(pattern)
    if not refuses:
        if pattern_url is not None:
            return _allows_address(pattern_url, text)
        return _matches_text(pattern, text) and not _leaves(pattern, text)
    # Match refusals regardless of case, path traversal and URL normalisation.
    plain = text.casefold()
    if any(_matches_text(pattern.casefold(), form) for form in (plain, posixpath.normpath(plain))):
        return True
    return pattern_url is not None and any(_refuses_address(pattern_url, form) for form in (text, _as_followed(text)))


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
        return _ADDRESS.match(text.strip()) is not None  # a URL that is written to mislead
    if not _is_of_host(pattern, address):
        return False
    wanted = _rest_of(pattern) or "*"
    path = posixpath.normpath(unquote(address.rest))
    return any(_matches_text(wanted, form) for form in (address.rest, unquote(address.rest), path))


def _is_of_host(pattern: re.Match[str], address: _Address) -> bool:
    scheme, authority, rest = pattern.groups()
    if not rest and authority != "*":
        authority = authority.removesuffix("*")  # https://example.org* means any path on that host only
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
    """Normalise a URL as browsers do: drop tabs and line ends, turn backslashes around, use two after the scheme."""
    joined = re.sub(r"[\t\r\n]", "", text).strip().replace("\\", "/")
    return re.sub(r"^(https?):/*", r"\1://", joined, flags=re.IGNORECASE)


def _address_of(text: str) -> _Address | None:
    """Parse an http(s) URL. Return None if it is invalid, or ambiguous: with user info or unusual characters."""
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
    """Return whether the text may leave the folder of the pattern. A pattern of only `*` covers everything."""
    return "*" in pattern and pattern.strip("*") != "" and _climbs(text)


def _climbs(text: str) -> bool:
    return any(_CLIMBS.search(form) for form in (text, unquote(text), unquote(unquote(text))))


def _matches_text(pattern: str, text: str) -> bool:
    """Match the whole text, where `*` matches anything. Searches the pieces from left to right without backtracking."""
    first, *others = pattern.split("*")
    if not others:
        return text == pattern
    *middle, last = others
    if not text.startswith(first) or len(text) < len(first) + len(last) or not text.endswith(last):
        return False
    start, end = len(first), len(text) - len(last)
    for piece in middle:
        index = text.find(piece, start, end)
        if index < 0:
            return False
        start = index + len(piece)
    return True
