"""Build adapters from vendors and the settings of users or the operator."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import httpx

from tertulia.http.outbound import Timeouts
from tertulia.providers.anthropic import VERSION, Anthropic
from tertulia.providers.bedrock import Bedrock
from tertulia.providers.cohere import Cohere
from tertulia.providers.ended import EndedProvider
from tertulia.providers.errors import ProviderFieldInvalid
from tertulia.providers.google import Google
from tertulia.providers.ollama import Ollama
from tertulia.providers.openai_compatible import OpenAICompatible
from tertulia.providers.openai_responses import OpenAIResponses
from tertulia.providers.protocol import ListingProvider
from tertulia.providers.refusals import RefusedParameters
from tertulia.providers.vendors import Vendor
from tertulia.providers.wire import Wire

MAX_URL = 2000
_ROUTES = ("/chat/completions", "/responses", "/completions", "/messages", "/models")
_RESPONSES_HOSTS = re.compile(
    r"https://(([a-z]{2}\.)?api\.openai\.com|[^/]+\.(openai|cognitiveservices|services\.ai)\.azure\.com)(:443)?(/|$)"
)
_DNS_LABEL = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


@dataclass(frozen=True)
class Access:
    """The key and settings needed to call a vendor."""

    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None  # replaces the vendor's own
    fields: Mapping[str, str] = field(default_factory=dict)


def build_adapter(
    vendor: Vendor,
    access: Access,
    client: httpx.AsyncClient,
    timeouts: Timeouts,
    *,
    shown_as: str,
    refused: RefusedParameters | None = None,
) -> ListingProvider:
    """Build an adapter. `refused` is what was learned about models before. Raises ProviderFieldInvalid if a setting is missing or invalid."""
    if vendor.ended is not None:
        return EndedProvider(shown_as, vendor.ended)
    headers = {"Content-Type": "application/json"}
    if access.api_key:
        headers |= {"Authorization": f"Bearer {access.api_key}"} if vendor.key_header == "authorization" else {}
        headers |= {vendor.key_header: access.api_key} if vendor.key_header != "authorization" else {}
    if vendor.wire == "anthropic":
        headers["anthropic-version"] = VERSION
    wire = Wire(
        shown_as,
        resolve_base_url(vendor, access),
        headers,
        client,
        timeouts,
        secret=access.api_key,
        vendor_id=vendor.id,
    )
    if vendor.wire == "anthropic":
        return Anthropic(wire, refused)
    # An address of the user's own for OpenAI is some compatible server, unless it is OpenAI's or Azure's.
    is_compatible = vendor.id == "openai" and access.base_url and not _RESPONSES_HOSTS.match(wire.base_url)
    if vendor.wire == "responses" and not is_compatible:
        return OpenAIResponses(wire, OpenAICompatible(wire, vendor.dialect, refused=refused), refused)
    if vendor.wire == "google":
        return Google(replace(wire, base_url=wire.base_url.removesuffix("/openai")), refused)
    if vendor.wire == "cohere":
        return Cohere(replace(wire, base_url=re.sub(r"/compatibility/v1$", "/v2", wire.base_url)), refused)
    if vendor.wire == "bedrock":
        return Bedrock(wire, vendor.dialect, refused)
    if vendor.wire == "ollama":
        return Ollama(replace(wire, base_url=wire.base_url.removesuffix("/v1")), refused)
    return OpenAICompatible(wire, vendor.dialect, refused=refused)


def resolve_base_url(vendor: Vendor, access: Access) -> str:
    """Return the address with its fields filled in. Raises ProviderFieldInvalid."""
    if access.base_url:
        return check_base_url(access.base_url)
    if vendor.base_url is None:
        raise ProviderFieldInvalid("base_url", "Enter the address. It usually ends in /v1.")
    for wanted in vendor.fields:
        value = access.fields.get(wanted.name, "")
        if not value:
            raise ProviderFieldInvalid(f"settings.{wanted.name}", f"Enter the {wanted.label.lower()}: {wanted.help}")
        if not set(value) <= _DNS_LABEL or len(value) > 63:
            raise ProviderFieldInvalid(
                f"settings.{wanted.name}",
                f"The {wanted.label.lower()} is part of the address. Use only a-z, 0-9 and hyphens.",
            )
    return vendor.base_url.format(**access.fields)


def check_base_url(url: str) -> str:
    """Check an http(s) address and return it without a final slash. Refuse user info, query and fragment."""
    if len(url) > MAX_URL:
        raise ProviderFieldInvalid("base_url", f"An address can have at most {MAX_URL} characters.")
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise ProviderFieldInvalid("base_url", "This is not an address. Use the form https://example.com/v1.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise ProviderFieldInvalid("base_url", "An address must begin with https:// or http://.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ProviderFieldInvalid("base_url", "Remove user names, passwords, ? and #. Enter the key in its own field.")
    if any(not character.isprintable() or character in " \\" for character in url):
        raise ProviderFieldInvalid("base_url", "An address cannot contain spaces or backslashes.")
    try:
        host = httpx.URL(url).raw_host
    except (httpx.InvalidURL, UnicodeError):
        host = b""
    if not host:
        raise ProviderFieldInvalid("base_url", "The host name of this address is not valid.")
    for ending in _ROUTES:  # the address of one route, as some documentation shows it
        url = url.rstrip("/").removesuffix(ending)
    return url.rstrip("/")
