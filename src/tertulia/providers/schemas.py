"""Define the wire shapes of providers and models."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from tertulia.accounts.models import MAX_WINDOW
from tertulia.http.body import RequestModel, at_most
from tertulia.http.times import UtcInput
from tertulia.providers.abilities import Effort, InputKind, Offer, WebSearch
from tertulia.providers.models import UnknownPriceRule

Phase = Literal["fetching", "loading", "ready", "asleep", "failed"]
Source = Literal["built_in", "operator", "own"]


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("A name has no line ends or other control characters. Copy it from the list of models.")
    return name


class ModelState(TypedDict):
    """The state of the built-in model. `progress` is 0 to 1 during the download."""

    phase: Phase
    progress: float | None
    detail: str | None


class CapabilitiesRead(TypedDict):
    """What a model supports. `null` means unknown.

    `web_search` is `alone` if the model searches only in replies without tools. `pictures` says whether it can be asked
    to make them. `efforts` are the choices of how long it thinks, none if it has no choice. `inputs` are the kinds of files that it
    takes as they are; of others it gets the extracted text.
    """

    vision: bool | None
    tools: bool | None
    reasoning: bool | None
    efforts: list[Effort]
    verbosity: bool
    web_search: WebSearch
    inputs: list[InputKind]
    pictures: Offer


class ModelRead(TypedDict):
    """A model. `provider` is a vendor, or `vendor:name` for a named config. Prices are for a million tokens.

    `own_window` is the window that the user has set, which `context_window` then is.
    `ignores`: settings of a chat that its vendor does not know, or that it was seen to refuse; they are not sent.
    """

    provider: str
    provider_name: str
    model_name: str
    display_name: str
    context_window: int | None
    own_window: int | None
    max_output: int | None
    input_price: Decimal | None
    output_price: Decimal | None
    capabilities: CapabilitiesRead
    ignores: list[str]
    source: Source
    available: bool
    deprecated: bool
    is_default: bool
    is_favourite: bool
    is_in_plan: bool  # the plan of the user includes it
    state: ModelState | None


class ModelList(TypedDict):
    items: list[ModelRead]


class FavouriteModel(RequestModel):
    provider: Annotated[str, Field(min_length=1, max_length=50, pattern=r"^[^/]+$"), AfterValidator(_printable)]
    model_name: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]
    is_favourite: bool


class ModelWindow(RequestModel):
    provider: Annotated[str, Field(min_length=1, max_length=50, pattern=r"^[^/]+$"), AfterValidator(_printable)]
    model_name: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]
    context_window: int | None = Field(
        ge=256, le=MAX_WINDOW, description="In tokens. `null`: what its server or the price list says."
    )


class VendorFieldRead(TypedDict):
    name: str
    label: str
    help: str
    placeholder: str


class VendorRead(TypedDict):
    """What a settings page asks for. `base_url` is null if the user must enter the address."""

    id: str
    display_name: str
    base_url: str | None
    needs_key: bool
    key_help: str
    key_url: str | None
    fields: list[VendorFieldRead]
    note: str | None


class VendorList(TypedDict):
    items: list[VendorRead]


def _one_line(value: str) -> str:
    if any(not character.isprintable() for character in value):
        raise ValueError("Use only printable characters, in one line.")
    return value.strip()


def _key(value: str) -> str:
    """Check that a key can be sent in a header, so that a badly copied one fails here and not at the provider."""
    value = value.strip()
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("A key has no spaces, line breaks or accented letters. Copy it again.")
    return value


def _config_name(value: str) -> str:
    if ":" in value or "/" in value:
        raise ValueError("Use a name without colons and slashes.")
    return _one_line(value)


ConfigName = Annotated[
    str, Field(max_length=40, json_schema_extra={"pattern": r"^[^:/]*$"}), AfterValidator(_config_name)
]
ApiKey = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_key)]
BaseUrl = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_one_line)]
VendorSettings = Annotated[
    dict[Annotated[str, Field(max_length=50)], Annotated[str, Field(max_length=200), AfterValidator(_one_line)]],
    *at_most(10),
]


class ProviderConfigCreate(RequestModel):
    provider: str = Field(max_length=50, description="A vendor's id, from GET /providers.")
    name: ConfigName = Field("", description="Distinguishes two keys of one vendor, such as `work`.")
    api_key: ApiKey | None = None
    base_url: BaseUrl | None = Field(None, description="Replaces the vendor's own address.")
    settings: VendorSettings = Field(default_factory=dict, description="The vendor's other fields, such as `region`.")
    is_default: bool | None = Field(None, description="Whether new chats use it. null: only if it is the first.")


class ProviderConfigUpdate(RequestModel):
    """Absent fields stay unchanged. A new address needs its key again, so that no key reaches another server."""

    name: ConfigName | None = None
    api_key: ApiKey | None = None
    base_url: BaseUrl | None = None
    settings: VendorSettings | None = None
    is_active: bool | None = None
    is_default: bool | None = None


class ProviderConfigRead(TypedDict):
    """A config without its key. `key_hint` is the beginning of the key."""

    id: str
    provider: str
    name: str
    key_hint: str | None
    base_url: str | None
    settings: dict[str, str]
    is_active: bool
    is_default: bool
    model_count: int
    models_read_at: datetime | None
    last_used_at: datetime | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime


class ProviderTest(TypedDict):
    """The result of a test. `detail` says how many models there are, or what is wrong."""

    ok: bool
    code: str | None
    detail: str
    model_count: int


Dollars = Annotated[Decimal, Field(ge=0, le=Decimal(100_000), decimal_places=6, allow_inf_nan=False)]


class ModelPriceCreate(RequestModel):
    """Dollars for a million tokens, and for an hour of generating."""

    provider: str = Field(min_length=1, max_length=50, description="A vendor such as `openai`, or `local`.")
    model_name: str | None = Field(
        None, min_length=1, max_length=100, description="`null`: every model of the provider whose price is unknown."
    )
    input_price: Dollars = Decimal(0)
    output_price: Dollars = Decimal(0)
    cached_price: Dollars | None = Field(None, description="Of tokens from a cache; `null`: as the input.")
    cache_write_price: Dollars | None = Field(None, description="Of tokens written to a cache; `null`: as the input.")
    hour_price: Dollars | None = None
    valid_from: UtcInput | None = Field(None, description="`null`: now.")


class ModelPriceRead(TypedDict):
    """A price from `valid_from` until `valid_until`; null: for good."""

    id: str
    provider: str
    model_name: str | None
    input_price: Decimal
    output_price: Decimal
    cached_price: Decimal | None
    cache_write_price: Decimal | None
    hour_price: Decimal | None
    valid_from: datetime
    valid_until: datetime | None


class ModelPriceList(TypedDict):
    items: list[ModelPriceRead]


class UnknownPriceUpdate(RequestModel):
    rule: UnknownPriceRule


class UnknownPriceRead(TypedDict):
    provider: str
    rule: UnknownPriceRule


class UnknownPriceList(TypedDict):
    items: list[UnknownPriceRead]


class PricesUpdate(RequestModel):
    """A list of prices of genai-prices, compressed."""

    packed: str = Field(min_length=1, max_length=2_000_000)
