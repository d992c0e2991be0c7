"""Stripe: checkout and portal by its API, and the events that it sends. See docs/guides/payments.md."""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import orjson

from tertulia import clock
from tertulia.billing.payments.api import PaymentApi
from tertulia.billing.payments.errors import InvoiceMissing, PaymentProviderError
from tertulia.billing.payments.facts import (
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
from tertulia.billing.payments.signatures import verify_stripe

PAGE = 100
MAX_PAGES = 2000
# Stripe's times are whole seconds. Events within one come in the order of their kinds, then of these states, as in a
# checkout, which goes from incomplete to active at once.
_RANKS = {"created": 0, "updated": 1, "paused": 2, "resumed": 2, "paid": 2, "refunded": 3, "deleted": 4}
_STATES = ("incomplete", "trialing", "active", "past_due", "paused", "unpaid", "incomplete_expired", "canceled")


class Stripe:
    source = "stripe"
    customer_types: tuple[str, ...] = ("checkout.session.completed",)

    def __init__(
        self, client: httpx.AsyncClient, base_url: str, access_token: str | None, secrets: Sequence[str]
    ) -> None:
        self._api = PaymentApi("Stripe", client, base_url, access_token)
        self._secrets = secrets

    @property
    def can_call(self) -> bool:
        return self._api.access_token is not None

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> str | None:
        verify_stripe(headers, body, self._secrets, now)
        return None  # the body has the id

    async def create_checkout(self, buyer: Buyer, product_id: str, *, success_url: str, cancel_url: str) -> str:
        """Return the address of a checkout. `product_id` is the id of a price."""
        fields = {
            "mode": "subscription",
            "line_items[0][price]": product_id,
            "line_items[0][quantity]": "1",
            "client_reference_id": buyer.user_id,
            "metadata[user_id]": buyer.user_id,
            "subscription_data[metadata][user_id]": buyer.user_id,
            "success_url": success_url,
            "cancel_url": cancel_url,
        }
        if buyer.customer_id:  # otherwise each purchase makes a new customer
            fields["customer"] = buyer.customer_id
        elif buyer.email:
            fields["customer_email"] = buyer.email
        return await self._api.address("POST", "/v1/checkout/sessions", "url", form=fields)

    async def create_portal(self, buyer: Buyer, *, return_url: str) -> str:
        fields = {"customer": buyer.customer_id or "", "return_url": return_url}
        return await self._api.address("POST", "/v1/billing_portal/sessions", "url", form=fields)

    async def set_cancellation(self, subscription_id: str, *, is_cancelled: bool) -> Listed:
        fields = {"cancel_at_period_end": "true" if is_cancelled else "false"}
        return await self._update(subscription_id, fields)

    async def change_product(self, subscription_id: str, product_id: str) -> Listed:
        """Move a subscription to another price. The difference is charged at once, or nothing is changed."""
        subscription = await self._api.call("GET", f"/v1/subscriptions/{quote(subscription_id, safe='')}")
        items = mapping_of(subscription.get("items")).get("data")
        item_id = id_of(mapping_of(items[0]).get("id")) if isinstance(items, list) and items else None
        if item_id is None:
            raise self._api.error("its subscription has no items")
        fields = {
            "items[0][id]": item_id,
            "items[0][price]": product_id,
            "proration_behavior": "always_invoice",
            "payment_behavior": "error_if_incomplete",
        }
        return await self._update(subscription_id, fields)

    async def _update(self, subscription_id: str, fields: Mapping[str, str]) -> Listed:
        answer, moment = await self._api.call_dated(
            "POST", f"/v1/subscriptions/{quote(subscription_id, safe='')}", form=fields
        )
        return Listed("customer.subscription.updated", answer, moment)

    async def find_invoice(self, payment_id: str) -> str:
        try:
            return await self._api.address("GET", f"/v1/invoices/{quote(payment_id, safe='')}", "hosted_invoice_url")
        except PaymentProviderError as error:
            if error.status == httpx.codes.NOT_FOUND:
                raise InvoiceMissing(self._api.name, is_soon=False) from error
            raise

    async def list_objects(self) -> AsyncIterator[Listed]:
        for kind, path in (("customer.subscription", "/v1/subscriptions?status=all&"), ("invoice", "/v1/invoices?")):
            last: str | None = None
            for _ in range(MAX_PAGES):
                query = urlencode({"limit": PAGE} | ({"starting_after": last} if last else {}))
                read_at = clock.now() - CLOCK_SKEW
                answer = await self._api.call("GET", f"{path}{query}")
                items = answer.get("data")
                if not isinstance(items, list):
                    raise self._api.error("its list has no data")
                for item in items:
                    yield Listed(f"{kind}{LISTED}", mapping_of(item), read_at)
                last = id_of(mapping_of(items[-1]).get("id")) if items else None
                if answer.get("has_more") is not True or last is None:
                    break
            else:
                raise self._api.error(f"more than {MAX_PAGES * PAGE} objects")

    def as_event(self, type: str, data: Mapping[str, Any], moment: datetime) -> bytes:
        return orjson.dumps({"type": type, "created": int(moment.timestamp()), "data": {"object": dict(data)}})

    def parse(self, body: bytes) -> EventFacts:
        return parse_stripe(body)


def sender_id_of(body: bytes) -> str | None:
    """Return the id that an event carries in its body."""
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return id_of(event.get("id"), 255) if isinstance(event, dict) else None


def digest_of(body: bytes) -> str:
    """Return an id for a body that has none."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def parse_stripe(body: bytes) -> EventFacts:
    """Read an event. Types that say nothing of subscriptions or invoices have no facts, and are kept all the same."""
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        return UNREADABLE
    kind = text_of(event.get("type")) if isinstance(event, dict) else None
    if kind is None:
        return UNREADABLE
    data = mapping_of(mapping_of(event.get("data")).get("object"))
    sent_at = time_of(event.get("created"))
    object_id = id_of(data.get("id"))
    state = data.get("status")
    common: dict[str, Any] = {
        "type": kind,
        "api_version": text_of(event.get("api_version"), 40),
        "sent_at": sent_at,
        "object_id": object_id,
        "customer_id": object_id if _is_customer(kind) else _id_of(data.get("customer")),
        "rank": 10 * _RANKS.get(kind.rpartition(".")[2], 1) + (_STATES.index(state) if state in _STATES else 9),
    }
    if kind.startswith("checkout.session.") or _is_customer(kind):
        metadata = mapping_of(data.get("metadata"))
        common["customer_external_id"] = id_of(data.get("client_reference_id")) or id_of(metadata.get("user_id"))
    if object_id is None or sent_at is None:
        return EventFacts(**common)
    if kind.startswith("customer.subscription.") and text_of(data.get("status")):
        facts = _subscription(data, object_id, sent_at)
        return EventFacts(
            **common, customer_external_id=facts.values.get("customer_external_id"), subscriptions=(facts,)
        )
    if kind == "checkout.session.completed":
        subscription_id = _id_of(data.get("subscription"))
        user_id = id_of(data.get("client_reference_id"))
        if subscription_id and user_id:
            values = {"customer_external_id": user_id, "checkout_id": object_id}
            named = SubscriptionFacts(subscription_id, sent_at, values)
            return EventFacts(**common, subscriptions=(named,))
    if kind.startswith("invoice.") and kind != "invoice.upcoming":  # that is a preview
        return EventFacts(**common, payment=_invoice(data, object_id, sent_at, is_deleted=kind == "invoice.deleted"))
    if kind == "charge.refunded" and (invoice_id := _id_of(data.get("invoice"))):
        # The invoice itself stays paid, so its state is left.
        refunded = {"refunded_amount": whole_of(data.get("amount_refunded")) or 0}
        return EventFacts(**common | {"object_id": invoice_id}, payment=PaymentFacts(invoice_id, sent_at, refunded))
    if kind == "charge.refunded":  # since 2025-03-31, charges and invoices are joined by a third object
        return EventFacts(
            **common,
            link_id=_id_of(data.get("payment_intent")) or object_id,
            refunded=whole_of(data.get("amount_refunded")) or 0,
        )
    if kind.startswith("invoice_payment.") and (invoice_id := _id_of(data.get("invoice"))):
        paid_with = mapping_of(data.get("payment"))
        return EventFacts(
            **common | {"object_id": invoice_id},
            link_id=_id_of(paid_with.get("payment_intent")) or _id_of(paid_with.get("charge")),
            payment=PaymentFacts(invoice_id, sent_at, {}),
        )
    return EventFacts(**common)


def _is_customer(kind: str) -> bool:
    """Return whether the object of an event is a customer, as of `customer.created`."""
    return kind.startswith("customer.") and kind.count(".") == 1


def _id_of(value: object) -> str | None:
    """Return the id of an object that is named, or included whole."""
    return id_of(mapping_of(value).get("id")) if isinstance(value, dict) else id_of(value)


def _first_id(values: object) -> str | None:
    """Return the id of the first of a list of objects, which may be named or included."""
    return _id_of(values[0]) if isinstance(values, list) and values else None


def _sum_of(parts: object) -> int:
    """Return the sum of a list of taxes or discounts."""
    return sum(whole_of(mapping_of(part).get("amount")) or 0 for part in (parts if isinstance(parts, list) else []))


def _subscription(data: Mapping[str, Any], subscription_id: str, moment: datetime) -> SubscriptionFacts:
    items = mapping_of(data.get("items")).get("data")
    item = mapping_of(items[0]) if isinstance(items, list) and items else {}
    price = mapping_of(item.get("price"))
    recurring = mapping_of(price.get("recurring"))
    details = mapping_of(data.get("cancellation_details"))
    metadata = mapping_of(data.get("metadata"))
    values: dict[str, Any] = {
        "status": text_of(data.get("status"), 40),
        "customer_id": _id_of(data.get("customer")),
        "product_id": id_of(price.get("id")),
        "amount": whole_of(price.get("unit_amount")),
        "seats": whole_of(item.get("quantity"), 2**31),
        "discount_id": _first_id(data.get("discounts")) or _id_of(data.get("discount")),
        "currency": currency_of(data.get("currency") or price.get("currency")),
        "recurring_interval": text_of(recurring.get("interval"), 20),
        "recurring_interval_count": whole_of(recurring.get("interval_count"), 2**31),
        # They moved to the items in 2025.
        "current_period_start": time_of(data.get("current_period_start") or item.get("current_period_start")),
        "current_period_end": time_of(data.get("current_period_end") or item.get("current_period_end")),
        "trial_start": time_of(data.get("trial_start")),
        "trial_end": time_of(data.get("trial_end")),
        "cancel_at_period_end": data.get("cancel_at_period_end") is True,
        "canceled_at": time_of(data.get("canceled_at")),
        "started_at": time_of(data.get("start_date")),
        "ends_at": time_of(data.get("cancel_at")),
        "ended_at": time_of(data.get("ended_at")),
        "resumes_at": time_of(mapping_of(data.get("pause_collection")).get("resumes_at")),
        "cancellation_reason": text_of(details.get("reason")),
        "cancellation_comment": text_of(details.get("comment"), 5000),
        "details": storable_of(metadata),
    }
    user_id = id_of(metadata.get("user_id"))
    if user_id is not None:
        values["customer_external_id"] = user_id
    return SubscriptionFacts(subscription_id, moment, values)


def _invoice(data: Mapping[str, Any], payment_id: str, moment: datetime, *, is_deleted: bool) -> PaymentFacts | None:
    total, currency = whole_of(data.get("total")), currency_of(data.get("currency"))
    if total is None or currency is None:
        return None
    parent = mapping_of(mapping_of(data.get("parent")).get("subscription_details"))
    status = "void" if is_deleted else text_of(data.get("status"), 40)
    receipt = data.get("hosted_invoice_url")
    values: dict[str, Any] = {
        "created_at": time_of(data.get("created")) or moment,
        "updated_at": moment,
        "status": status,
        "is_paid": status == "paid",
        "subtotal_amount": whole_of(data.get("subtotal")),
        "discount_amount": _sum_of(data.get("total_discount_amounts")),
        "net_amount": whole_of(data.get("total_excluding_tax")),
        "tax_amount": whole_of(data.get("tax")) or _sum_of(data.get("total_taxes")),
        "total_amount": total,
        "due_amount": whole_of(data.get("amount_due")),
        "currency": currency,
        "billing": storable_of({"name": data.get("customer_name"), "address": data.get("customer_address")}),
        "customer": storable_of({"id": _id_of(data.get("customer")), "email": data.get("customer_email")}),
        "details": storable_of(mapping_of(data.get("metadata"))),
        "customer_id": _id_of(data.get("customer")),
        "subscription_id": _id_of(data.get("subscription") or parent.get("subscription")),
        "billing_reason": text_of(data.get("billing_reason"), 60),
        "invoice_number": text_of(data.get("number")),
        "receipt_url": receipt
        if isinstance(receipt, str) and receipt.startswith("https://") and len(receipt) <= 2000
        else None,
    }
    return PaymentFacts(payment_id, moment, values)
