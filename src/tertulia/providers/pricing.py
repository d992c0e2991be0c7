"""The price of a model: what an administrator entered for its day, else the catalogue, else the rule for unknown ones."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor, require_admin
from tertulia.accounts.audit import write_audit
from tertulia.db import Prepared, insert_if_absent
from tertulia.db.types import MILLIONTH
from tertulia.ids import ModelPriceId, new_id
from tertulia.providers.errors import ModelPriceNotFound, TooManyPrices
from tertulia.providers.models import ModelPrice, UnknownPrice, UnknownPriceRule
from tertulia.providers.prices import MAX_COST, PriceBook, cost_of, savings_of_cache
from tertulia.providers.protocol import MOST_SEARCHES, Usage
from tertulia.providers.schemas import ModelPriceCreate, ModelPriceRead, UnknownPriceRead
from tertulia.providers.vendors import BY_ID, Vendor

MILLION = Decimal(1_000_000)
HOUR_S = Decimal(3600)
LOCAL = "local"  # the provider of the built-in model
MAX_PRICES = 1000


@dataclass(frozen=True)
class OwnPrice:
    """A price that was entered, and when it holds."""

    input_price: Decimal
    output_price: Decimal
    cached_price: Decimal | None
    cache_write_price: Decimal | None
    hour_price: Decimal | None
    valid_from: datetime
    valid_until: datetime | None

    def holds_at(self, moment: datetime) -> bool:
        return self.valid_from <= moment and (self.valid_until is None or moment < self.valid_until)

    def cost(self, usage: Usage, seconds: float) -> Decimal:
        cached = self.input_price if self.cached_price is None else self.cached_price
        written = self.input_price if self.cache_write_price is None else self.cache_write_price
        plain = max(0, usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens)
        tokens = (
            plain * self.input_price
            + usage.cached_tokens * cached
            + usage.cache_write_tokens * written
            + usage.output_tokens * self.output_price
        ) / MILLION
        time = (self.hour_price or Decimal(0)) * Decimal(str(seconds)) / HOUR_S
        return min((tokens + time).quantize(MILLIONTH, ROUND_HALF_UP), MAX_COST)


@dataclass(frozen=True)
class Pricing:
    """How a model of a provider is priced. `own` are prices of the model, `fallback` those of unknown models."""

    vendor: Vendor | None
    model_name: str
    own: tuple[OwnPrice, ...] = ()
    fallback: tuple[OwnPrice, ...] = ()
    rule: UnknownPriceRule = UnknownPriceRule.ALLOW
    book: PriceBook | None = None  # the catalogue, if it is not the one of now

    def cost(self, usage: Usage, *, at: datetime, seconds: float = 0) -> Decimal | None:
        """Return the cost in dollars, to the millionth, with the price of that time. None: unknown."""
        own = next((price for price in self.own if price.holds_at(at)), None)
        if own is not None:
            return own.cost(usage, seconds)
        cost = cost_of(self.vendor, self.model_name, usage, at=at, book=self.book)
        if cost is None and self.rule is UnknownPriceRule.COUNT:
            fallback = next((price for price in self.fallback if price.holds_at(at)), None)
            return fallback.cost(usage, seconds) if fallback is not None else None
        return cost

    def most(self, input_tokens: int, output_tokens: int) -> Decimal | None:
        """Return the most that a request costs now: nothing comes from a cache, or all of it is written to one."""
        now = clock.now()
        plain = self.cost(Usage(input_tokens, output_tokens), at=now)
        if plain is None or self.vendor is None or self.vendor.wire not in ("anthropic", "bedrock"):
            return plain
        written = self.cost(Usage(input_tokens, output_tokens, cache_write_tokens=input_tokens), at=now)
        return max(plain, written or plain)

    @property
    def second_price(self) -> Decimal:
        """Return what a second of a request costs in dollars, 0 without a price per hour."""
        now = clock.now()
        price = next((price for price in self.own if price.holds_at(now)), None)
        is_unknown = price is None and cost_of(self.vendor, self.model_name, Usage(1, 1), at=now) is None
        if is_unknown and self.rule is UnknownPriceRule.COUNT:
            price = next((price for price in self.fallback if price.holds_at(now)), None)
        return (price.hour_price or Decimal(0)) / HOUR_S if price is not None else Decimal(0)

    def most_of_searches(self) -> Decimal:
        """Return the most that a request pays for the vendor's own web searches."""
        now = clock.now()
        none, most = (self.cost(Usage(0, 0, web_searches=count), at=now) for count in (0, MOST_SEARCHES))
        return max((most or Decimal(0)) - (none or Decimal(0)), Decimal(0))

    def savings(self, usage: Usage, cost: Decimal | None, *, at: datetime) -> Decimal | None:
        """Return what the vendor's cache saved, below 0 if writing to it cost more. None: unknown."""
        own = next((price for price in self.own if price.holds_at(at)), None)
        if own is None or cost is None:
            return savings_of_cache(self.vendor, self.model_name, usage, cost, at=at)
        return own.cost(Usage(usage.input_tokens, usage.output_tokens), 0) - own.cost(usage, 0)

    @property
    def is_refused(self) -> bool:
        """Return whether the administrator refuses the model, because its price is unknown and none was entered."""
        return self.rule is not UnknownPriceRule.ALLOW and self.most(1, 1) is None


def _bind(name: str, column: Any) -> Any:
    return sa.bindparam(name, type_=column.type)


_COLUMNS = (
    ModelPrice.model_name,
    ModelPrice.input_price,
    ModelPrice.output_price,
    ModelPrice.cached_price,
    ModelPrice.cache_write_price,
    ModelPrice.hour_price,
    ModelPrice.valid_from,
    ModelPrice.valid_until,
)
_PRICES = Prepared(
    sa.select(*_COLUMNS)
    .where(
        ModelPrice.provider == _bind("provider", ModelPrice.provider),
        sa.or_(ModelPrice.model_name == _bind("model", ModelPrice.model_name), ModelPrice.model_name.is_(None)),
    )
    .order_by(ModelPrice.valid_from.desc())
)
_ALL_PRICES = Prepared(
    sa.select(*_COLUMNS)
    .where(ModelPrice.provider == _bind("provider", ModelPrice.provider))
    .order_by(ModelPrice.valid_from.desc())
)
_RULE = Prepared(sa.select(UnknownPrice.rule).where(UnknownPrice.provider == _bind("provider", UnknownPrice.provider)))


def find_pricing(session: Session, vendor_id: str, model_name: str) -> Pricing:
    """Return how a model is priced. `vendor_id` is `local` for the built-in model."""
    own: list[OwnPrice] = []
    fallback: list[OwnPrice] = []
    for name, *values in _PRICES.all(session, provider=vendor_id, model=model_name):
        (own if name is not None else fallback).append(OwnPrice(*values))
    return Pricing(BY_ID.get(vendor_id), model_name, tuple(own), tuple(fallback), _rule_of(session, vendor_id))


def _rule_of(session: Session, vendor_id: str) -> UnknownPriceRule:
    return next((rule for (rule,) in _RULE.all(session, provider=vendor_id)), UnknownPriceRule.ALLOW)


def find_pricings(session: Session, vendor_id: str) -> Callable[[str], Pricing]:
    """Return a function that says how a model of a vendor is priced, after reading the vendor's prices once."""
    own: dict[str | None, list[OwnPrice]] = {}
    for name, *values in _ALL_PRICES.all(session, provider=vendor_id):
        own.setdefault(name, []).append(OwnPrice(*values))
    rule = _rule_of(session, vendor_id)

    def pricing_of(model_name: str) -> Pricing:
        prices, fallback = (tuple(own.get(name, ())) for name in (model_name, None))
        return Pricing(BY_ID.get(vendor_id), model_name, prices, fallback, rule)

    return pricing_of


# ---- for administrators


def list_prices(session: Session, actor: Actor) -> list[ModelPriceRead]:
    """List the prices that were entered, by provider and model, newest first. Raises AdminOnly."""
    require_admin(actor)
    rows = session.scalars(
        sa.select(ModelPrice).order_by(ModelPrice.provider, ModelPrice.model_name, ModelPrice.valid_from.desc())
    )
    return [_read(row) for row in rows]


def create_price(session: Session, actor: Actor, new: ModelPriceCreate) -> ModelPriceRead:
    """Enter a price from a time on. The one before ends there. Raises AdminOnly and TooManyPrices."""
    require_admin(actor)
    if (session.scalar(sa.select(sa.func.count()).select_from(ModelPrice)) or 0) >= MAX_PRICES:
        raise TooManyPrices(MAX_PRICES)
    valid_from = new.valid_from or clock.now()
    same = (ModelPrice.provider == new.provider, ModelPrice.model_name.is_not_distinct_from(new.model_name))
    session.execute(
        sa.update(ModelPrice)
        .where(
            *same,
            ModelPrice.valid_from < valid_from,
            ModelPrice.valid_until.is_(None) | (ModelPrice.valid_until > valid_from),
        )
        .values(valid_until=valid_from)
    )
    following = session.scalar(
        sa.select(sa.func.min(ModelPrice.valid_from, type_=ModelPrice.valid_from.type)).where(
            *same, ModelPrice.valid_from > valid_from
        )
    )
    session.execute(sa.delete(ModelPrice).where(*same, ModelPrice.valid_from == valid_from))
    row = ModelPrice(id=new_id(), valid_until=following, **new.model_dump() | {"valid_from": valid_from})
    session.add(row)
    session.flush()
    write_audit(session, actor.user_id, "price.create", entity="model_price", entity_id=row.id)
    return _read(row)


def delete_price(session: Session, actor: Actor, price_id: ModelPriceId) -> None:
    """Delete a price. Costs that were computed with it stay. Raises AdminOnly and ModelPriceNotFound."""
    require_admin(actor)
    row = session.get(ModelPrice, price_id)
    if row is None:
        raise ModelPriceNotFound
    write_audit(session, actor.user_id, "price.delete", entity="model_price", entity_id=price_id)
    session.execute(  # the price before it continues
        sa.update(ModelPrice)
        .where(
            ModelPrice.provider == row.provider,
            ModelPrice.model_name.is_not_distinct_from(row.model_name),
            ModelPrice.valid_until == row.valid_from,
        )
        .values(valid_until=row.valid_until)
    )
    session.delete(row)
    session.flush()


def list_rules(session: Session, actor: Actor) -> list[UnknownPriceRead]:
    """List the providers with a rule for unknown prices. Raises AdminOnly."""
    require_admin(actor)
    rows = session.scalars(sa.select(UnknownPrice).order_by(UnknownPrice.provider))
    return [{"provider": row.provider, "rule": row.rule} for row in rows]


def set_rule(session: Session, actor: Actor, provider: str, rule: UnknownPriceRule) -> UnknownPriceRead:
    """Set what to do with requests to a provider whose price is unknown. Raises AdminOnly."""
    require_admin(actor)
    now = clock.now()
    if not insert_if_absent(session, UnknownPrice, provider=provider, rule=rule, created_at=now, updated_at=now):
        session.execute(sa.update(UnknownPrice).where(UnknownPrice.provider == provider).values(rule=rule))
    write_audit(session, actor.user_id, "price.rule", entity="provider")
    return {"provider": provider, "rule": rule}


def _read(row: ModelPrice) -> ModelPriceRead:
    return {
        "id": row.id,
        "provider": row.provider,
        "model_name": row.model_name,
        "input_price": row.input_price,
        "output_price": row.output_price,
        "cached_price": row.cached_price,
        "cache_write_price": row.cache_write_price,
        "hour_price": row.hour_price,
        "valid_from": row.valid_from,
        "valid_until": row.valid_until,
    }
