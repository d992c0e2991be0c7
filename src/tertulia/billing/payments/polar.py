"""Polar: checkout and portal by its API (2026-10), and the events that it sends. See docs/guides/payments.md."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from tertulia import clock
from tertulia.billing.payments.api import PaymentApi
from tertulia.billing.payments.errors import InvoiceMissing, PaymentProviderError
from tertulia.billing.payments.facts import (
    SUBSCRIPTION_TEXTS,
    SUBSCRIPTION_TIMES,
    UNREADABLE,
    EventFacts,
    PaymentFacts,
    SubscriptionFacts,
    currency_of,
    id_of,
    mapping_of,
    storable_of,
    text_of,
    time_of,
    whole_of,
)
from tertulia.billing.payments.protocol import CLOCK_SKEW, LISTED, Buyer, Listed
from tertulia.billing.payments.signatures import verify_standard

PAGE = 100
MAX_PAGES = 2000
# Fields of subscriptions that we call otherwise.
RENAMED = {
    "cancellation_reason": "customer_cancellation_reason",
    "cancellation_comment": "customer_cancellation_comment",
}
SUBSCRIPTION_NUMBERS = {"amount": 2**62, "recurring_interval_count": 2**31, "seats": 2**31, "units": 2**62}
EXTERNAL = ("external_customer_id", "customer_external_id")  # fields of checkouts
INVOICE_PAUSES_S = (0.2, 0.5, 1.0, 2.0)  # before looks for an invoice that is being made


class Polar:
    source = "polar"
    customer_types: tuple[str, ...] = ("customer.state_changed",)

    def __init__(
        self, client: httpx.AsyncClient, base_url: str, access_token: str | None, secrets: Sequence[str]
    ) -> None:
        self._api = PaymentApi("Polar", client, base_url, access_token)
        self._secrets = secrets

    @property
    def can_call(self) -> bool:
        return self._api.access_token is not None

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> str | None:
        return verify_standard(headers, body, self._secrets, now)

    async def create_checkout(self, buyer: Buyer, product_id: str, *, success_url: str, cancel_url: str) -> str:
        body: dict[str, Any] = {
            "products": [product_id],
            "external_customer_id": buyer.user_id,
            "customer_name": buyer.name,
            "success_url": success_url,
            "return_url": cancel_url,
        }
        if buyer.email:
            body["customer_email"] = buyer.email
        return await self._api.address("POST", "/v1/checkouts/", "url", json=body)

    async def create_portal(self, buyer: Buyer, *, return_url: str) -> str:
        body = {"external_customer_id": buyer.user_id, "return_url": return_url}
        return await self._api.address("POST", "/v1/customer-sessions/", "customer_portal_url", json=body)

    async def set_cancellation(self, subscription_id: str, *, is_cancelled: bool) -> Listed:
        return await self._update(subscription_id, {"cancel_at_period_end": is_cancelled})

    async def change_product(self, subscription_id: str, product_id: str) -> Listed:
        """Move a subscription to another product. The difference is invoiced at once."""
        return await self._update(subscription_id, {"product_id": product_id, "proration_behavior": "invoice"})

    async def _update(self, subscription_id: str, body: Mapping[str, object]) -> Listed:
        answer, moment = await self._api.call_dated(
            "PATCH", f"/v1/subscriptions/{quote(subscription_id, safe='')}", json=dict(body)
        )
        return Listed("subscription.updated", answer, moment)

    async def find_invoice(self, payment_id: str) -> str:
        path = f"/v1/orders/{quote(payment_id, safe='')}/invoice"
        try:
            return await self._api.address("GET", path, "url")
        except PaymentProviderError as error:
            if error.status != httpx.codes.NOT_FOUND:
                raise
        try:
            await self._api.call("POST", path)
        except PaymentProviderError as error:
            if error.status in (httpx.codes.CONFLICT, httpx.codes.UNPROCESSABLE_ENTITY):
                raise InvoiceMissing(self._api.name, is_soon=False) from error
            raise
        for pause_s in INVOICE_PAUSES_S:  # it is being made
            await asyncio.sleep(pause_s)
            try:
                return await self._api.address("GET", path, "url")
            except PaymentProviderError as error:
                if error.status != httpx.codes.NOT_FOUND:
                    raise
        raise InvoiceMissing(self._api.name, is_soon=True)

    async def list_objects(self) -> AsyncIterator[Listed]:
        """Yield every subscription and order."""
        for kind, path in (("subscription", "/v1/subscriptions/"), ("order", "/v1/orders/")):
            for page in range(1, MAX_PAGES + 1):
                read_at = clock.now() - CLOCK_SKEW
                answer = await self._api.call("GET", f"{path}?page={page}&limit={PAGE}")
                items = answer.get("items")
                if not isinstance(items, list):
                    raise self._api.error("its list has no items")
                for item in items:
                    yield Listed(f"{kind}{LISTED}", mapping_of(item), read_at)
                most = whole_of(mapping_of(answer.get("pagination")).get("max_page")) or 1
                if page >= most or not items:
                    break
            else:
                raise self._api.error(f"more than {MAX_PAGES * PAGE} objects")

    def as_event(self, type: str, data: Mapping[str, Any], moment: datetime) -> bytes:
        return orjson.dumps({"type": type, "timestamp": moment.isoformat(), "data": dict(data)})

    def parse(self, body: bytes) -> EventFacts:
        return parse_polar(body)


def parse_polar(body: bytes) -> EventFacts:
    """Read an event. Types that say nothing of subscriptions or orders have no facts, and are kept all the same."""
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        return UNREADABLE
    kind = text_of(event.get("type")) if isinstance(event, dict) else None
    if kind is None:
        return UNREADABLE
    data = mapping_of(event.get("data"))
    customer = mapping_of(data.get("customer"))
    object_id = id_of(data.get("id"))
    about = kind.partition(".")[0]
    of_customer = (object_id, id_of(data.get("external_id"))) if about == "customer" else (None, None)
    external_ids = (customer.get("external_id"), *(data.get(name) for name in EXTERNAL))
    facts = EventFacts(
        type=kind,
        api_version=text_of(event.get("api_version"), 40),
        sent_at=time_of(event.get("timestamp")),
        object_id=object_id,
        customer_id=of_customer[0] or id_of(data.get("customer_id")) or id_of(customer.get("id")),
        customer_external_id=of_customer[1] or next(filter(None, map(id_of, external_ids)), None),
    )
    if object_id is None:
        return facts
    if about == "subscription":
        subscription = _subscription(data, object_id, facts.sent_at, is_listed=kind.endswith(LISTED))
        return replace(facts, subscriptions=(subscription,) if subscription else ())
    if about == "order":
        return replace(facts, payment=_payment(data, object_id, facts.sent_at, is_listed=kind.endswith(LISTED)))
    if kind == "customer.state_changed" and isinstance(data.get("active_subscriptions"), list):
        return _with_active(facts, [mapping_of(item) for item in data["active_subscriptions"]])
    return facts


def _with_active(facts: EventFacts, listed: Sequence[Mapping[str, Any]]) -> EventFacts:
    """Add the subscriptions that a customer has. Those that are not listed are over."""
    of_customer = {"customer_id": facts.customer_id, "customer": {"external_id": facts.customer_external_id}}
    subscriptions = [
        _subscription({**item, **of_customer}, item_id, facts.sent_at)
        for item in listed
        if (item_id := id_of(item.get("id")))
    ]
    return replace(
        facts,
        subscriptions=tuple(known for known in subscriptions if known is not None),
        active=frozenset(str(item.get("id")) for item in listed),
    )


def _moment_of(data: Mapping[str, Any], sent_at: datetime | None, *, is_listed: bool) -> datetime | None:
    """Return when an object was as it is said: by the clock of Polar's database. A list is as of when it was read."""
    if is_listed:
        return sent_at
    return time_of(data.get("modified_at")) or time_of(data.get("created_at")) or sent_at


def _subscription(
    data: Mapping[str, Any], subscription_id: str, sent_at: datetime | None, *, is_listed: bool = False
) -> SubscriptionFacts | None:
    moment = _moment_of(data, sent_at, is_listed=is_listed)
    if moment is None:
        return None
    values: dict[str, Any] = {
        name: text_of(data[field], limit)
        for name, limit in SUBSCRIPTION_TEXTS.items()
        if (field := RENAMED.get(name, name)) in data
    }
    external_id = text_of(mapping_of(data.get("customer")).get("external_id"))
    if external_id is not None:
        values["customer_external_id"] = external_id
    if "currency" in data:
        values["currency"] = currency_of(data["currency"])
    values |= {name: time_of(data[name]) for name in SUBSCRIPTION_TIMES if name in data}
    for name, most in SUBSCRIPTION_NUMBERS.items():
        if name in data:
            values[name] = whole_of(data[name], most)
    if "cancel_at_period_end" in data:
        values["cancel_at_period_end"] = data["cancel_at_period_end"] is True
    if isinstance(data.get("metadata"), dict):
        values["details"] = storable_of(data["metadata"])
    return SubscriptionFacts(subscription_id, moment, values) if values.get("status") else None


def _payment(
    data: Mapping[str, Any], payment_id: str, sent_at: datetime | None, *, is_listed: bool
) -> PaymentFacts | None:
    moment = _moment_of(data, sent_at, is_listed=is_listed)
    total, currency = whole_of(data.get("total_amount")), currency_of(data.get("currency"))
    if moment is None or total is None or currency is None:
        return None
    values: dict[str, Any] = {
        "created_at": time_of(data.get("created_at")) or moment,
        "updated_at": time_of(data.get("modified_at")),
        "status": text_of(data.get("status"), 40),
        "is_paid": data.get("paid") is True,
        "subtotal_amount": whole_of(data.get("subtotal_amount")),
        "discount_amount": whole_of(data.get("discount_amount")) or 0,
        "net_amount": whole_of(data.get("net_amount")),
        "tax_amount": whole_of(data.get("tax_amount")) or 0,
        "total_amount": total,
        "due_amount": whole_of(data.get("due_amount")),
        # Of a full refund, both together are the total.
        "refunded_amount": (whole_of(data.get("refunded_amount")) or 0)
        + (whole_of(data.get("refunded_tax_amount")) or 0),
        "currency": currency,
        "billing": storable_of({"name": data.get("billing_name"), "address": data.get("billing_address")}),
        "customer": storable_of(mapping_of(data.get("customer")) or None),
        "details": storable_of(mapping_of(data.get("metadata"))),
        "customer_id": id_of(data.get("customer_id")),
        "subscription_id": id_of(data.get("subscription_id")),
        "product_id": id_of(data.get("product_id")),
        "billing_reason": text_of(data.get("billing_reason"), 60),
        "invoice_number": text_of(data.get("invoice_number")),
    }
    return PaymentFacts(payment_id, moment, values)
