"""Tables for provider configurations and the model catalogue."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Mapped, mapped_column

from tertulia.db import Base, CreatedAt, Id, JsonOf, Money, Timestamps, closed
from tertulia.ids import new_id


class Capabilities(BaseModel):
    """What a model supports. None means unknown."""

    vision: bool | None = None
    tools: bool | None = None
    reasoning: bool | None = None


class ListedModel(BaseModel):
    """A model in a provider's own list. Facts that the list lacks are None."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    display_name: str | None = None
    context_window: int | None = None
    capabilities: Capabilities | None = None


class ProviderConfig(Timestamps, Base):
    """A user's provider configuration. `config` is ciphertext (keyring.py): key, base URL and the vendor's fields."""

    __tablename__ = "provider_config"
    __table_args__ = (
        sa.UniqueConstraint("user_id", "provider", "name"),
        sa.Index(
            "ix_provider_config_default",
            "user_id",
            unique=True,
            sqlite_where=sa.text("is_default"),
            postgresql_where=sa.text("is_default"),
        ),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id(), sa.ForeignKey("user.id", ondelete="CASCADE"))
    provider: Mapped[str] = mapped_column(sa.String(50))  # the vendor
    name: Mapped[str] = mapped_column(sa.String(40), default="")
    config: Mapped[str] = mapped_column(sa.Text)
    key_hint: Mapped[str | None] = mapped_column(sa.String(4))
    is_active: Mapped[bool] = mapped_column(default=True)
    is_default: Mapped[bool] = mapped_column(default=False)
    last_used_at: Mapped[datetime | None]
    last_error: Mapped[str | None] = mapped_column(sa.Text)  # of the last attempt to list its models; redacted
    models: Mapped[list[ListedModel]] = mapped_column(JsonOf(list[ListedModel]), default=list)
    models_read_at: Mapped[datetime | None]


class ModelRefusal(Timestamps, Base):
    """What a model was seen to refuse with one key, so that it need not be learned again after a restart."""

    __tablename__ = "model_refusal"
    __table_args__ = (sa.UniqueConstraint("account", "model_name"), sa.Index(None, "learned_at"))

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    account: Mapped[str] = mapped_column(sa.String(16))  # a digest of the address and the key
    model_name: Mapped[str] = mapped_column(sa.String(100))
    names: Mapped[dict[str, datetime]] = mapped_column(JsonOf(dict[str, datetime]))  # of parameters, and when
    longest_reply: Mapped[int | None]  # in tokens
    learned_at: Mapped[datetime]  # the last of them


class ProviderModel(Timestamps, Base):
    """The catalogue: facts on models that vendors' lists lack. Filled by `tertulia models refresh`."""

    __tablename__ = "provider_model"
    __table_args__ = (sa.UniqueConstraint("provider", "model_name"),)

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    provider: Mapped[str] = mapped_column(sa.String(50))
    model_name: Mapped[str] = mapped_column(sa.String(100))
    display_name: Mapped[str] = mapped_column(sa.String(200))
    context_window: Mapped[int | None]
    max_output: Mapped[int | None]
    # Dollars for a million tokens. None if unknown, or if it depends on more than the tokens.
    input_price: Mapped[Decimal | None] = mapped_column(Money())
    output_price: Mapped[Decimal | None] = mapped_column(Money())
    cached_price: Mapped[Decimal | None] = mapped_column(Money())
    capabilities: Mapped[Capabilities] = mapped_column(JsonOf(Capabilities), default=Capabilities)
    is_deprecated: Mapped[bool] = mapped_column(default=False)


class UnknownPriceRule(StrEnum):
    """What to do with requests to a provider whose price is unknown."""

    ALLOW = "allow"  # they count as nothing
    COUNT = "count"  # they count with the price that is entered for all models of the provider
    REFUSE = "refuse"


class PriceList(CreatedAt, Base):
    """A catalogue of prices that `tertulia models refresh` stored. It holds from then to the next one."""

    __tablename__ = "price_list"
    __table_args__ = (sa.Index(None, "created_at"),)

    edition: Mapped[str] = mapped_column(sa.String(100), primary_key=True)  # with the version of genai-prices
    packed: Mapped[str] = mapped_column(sa.Text)  # JSON of genai-prices, compressed, in Base64


class ModelPrice(Timestamps, Base):
    """A price that an administrator entered, from a time on. It counts before the one of the catalogue.

    Without a model name, it is for models of the provider whose price is unknown.
    """

    __tablename__ = "model_price"
    __table_args__ = (
        sa.Index(None, "provider", "model_name", "valid_from"),
        sa.CheckConstraint("valid_until IS NULL OR valid_until > valid_from", name="order"),
    )

    id: Mapped[str] = mapped_column(Id(), primary_key=True, default=new_id)
    provider: Mapped[str] = mapped_column(sa.String(50))  # the vendor; `local` for the built-in model
    model_name: Mapped[str | None] = mapped_column(sa.String(100))
    # Dollars for a million tokens, and for an hour of generating, as of an own machine.
    input_price: Mapped[Decimal] = mapped_column(Money())
    output_price: Mapped[Decimal] = mapped_column(Money())
    cached_price: Mapped[Decimal | None] = mapped_column(Money())  # None: as the input
    cache_write_price: Mapped[Decimal | None] = mapped_column(Money())  # None: as the input
    hour_price: Mapped[Decimal | None] = mapped_column(Money())
    valid_from: Mapped[datetime]
    valid_until: Mapped[datetime | None]


class UnknownPrice(Timestamps, Base):
    """The rule for requests to a provider whose price is unknown. Without a row they are allowed."""

    __tablename__ = "unknown_price"

    provider: Mapped[str] = mapped_column(sa.String(50), primary_key=True)
    rule: Mapped[UnknownPriceRule] = mapped_column(closed(UnknownPriceRule))
