"""From a vendor and what a person or the operator set up for it to an adapter that can be asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import httpx

from tertulia.http.outbound import Timeouts
from tertulia.providers.anthropic import VERSION, Anthropic
from tertulia.providers.errors import ProviderFieldInvalid
from tertulia.providers.openai_compatible import Dialect, OpenAICompatible
from tertulia.providers.protocol import ListingProvider
from tertulia.providers.vendors import Vendor
from tertulia.providers.wire import Wire

MAX_URL = 2000
_DNS_LABEL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


@dataclass(frozen=True)
class Access:
    """What it takes to call a vendor."""

    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None  # instead of the vendor's own
    fields: Mapping[str, str] = field(default_factory=dict)


def build_adapter(
    vendor: Vendor, access: Access, client: httpx.AsyncClient, timeouts: Timeouts, *, shown_as: str
) -> ListingProvider:
    """Raises ProviderFieldInvalid for what is missing or cannot be."""
    headers = {"Content-Type": "application/json"}
    if access.api_key:
        headers |= {"Authorization": f"Bearer {access.api_key}"} if vendor.key_header == "authorization" else {}
        headers |= {vendor.key_header: access.api_key} if vendor.key_header != "authorization" else {}
    if vendor.wire == "anthropic":
        headers["anthropic-version"] = VERSION
    wire = Wire(shown_as, resolve_base_url(vendor, access), headers, client, timeouts, secret=access.api_key)
    if vendor.wire == "anthropic":
        return Anthropic(wire)
    dialect = vendor.dialect
    if access.base_url and vendor.id == "openai":
        # Whatever answers there speaks the format as most do; the newer name of the token limit is OpenAI's own.
        dialect = Dialect()
    if access.base_url and dialect.models_address and dialect.models_address.startswith("http"):
        # The key is for the address that was named, so the list is asked for there and nowhere else.
        dialect = replace(dialect, models_address="/models")
    return OpenAICompatible(wire, dialect)


def resolve_base_url(vendor: Vendor, access: Access) -> str:
    """The address with everything filled in. Raises ProviderFieldInvalid."""
    if access.base_url:
        return check_base_url(access.base_url)
    if vendor.base_url is None:
        raise ProviderFieldInvalid("base_url", "Say the address; it usually ends in /v1.")
    for wanted in vendor.fields:
        value = access.fields.get(wanted.name, "")
        if not value:
            raise ProviderFieldInvalid(f"settings.{wanted.name}", f"Say the {wanted.label.lower()}: {wanted.help}")
        if not set(value) <= _DNS_LABEL or len(value) > 63:
            raise ProviderFieldInvalid(
                f"settings.{wanted.name}",
                f"The {wanted.label.lower()} is a part of the address: a-z, 0-9 and hyphens only.",
            )
    return vendor.base_url.format(**access.fields)


def check_base_url(url: str) -> str:
    """http or https, with a host, and nothing that would go to another place or hide a secret. Without a final slash."""
    if len(url) > MAX_URL:
        raise ProviderFieldInvalid("base_url", f"An address has at most {MAX_URL} characters.")
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise ProviderFieldInvalid(
            "base_url", "This is not an address. It looks like https://example.com/v1."
        ) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise ProviderFieldInvalid("base_url", "An address begins with https:// or http://.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ProviderFieldInvalid("base_url", "Leave out names, passwords, ? and #; the key has a field of its own.")
    if any(not character.isprintable() or character in " \\" for character in url):
        raise ProviderFieldInvalid("base_url", "An address has no spaces.")
    try:
        host = httpx.URL(url).raw_host
    except (httpx.InvalidURL, UnicodeError):
        host = b""
    if not host:
        raise ProviderFieldInvalid("base_url", "This is not the name of a server.")
    return url.rstrip("/")
