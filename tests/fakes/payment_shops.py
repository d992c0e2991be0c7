"""Polar and Stripe as shops that send webhooks: when something is bought, cancelled, not paid, refunded or ended.

Deliveries are signed. They come in any order, some come twice, and each is sent again until it is answered with a success,
at most ten times with longer pauses, as both document it.
"""

import copy
import json
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock, Thread
from typing import Any

import httpx

from tests.fakes.payment_servers import PaymentServer, sign_polar, sign_stripe

TRIES = 10  # of a delivery
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0


@dataclass
class Shop(PaymentServer, ABC):
    """A provider with its own side of a subscription, which tells us every change of it."""

    receiver: str = ""  # our route for its webhooks
    is_cut_off: bool = False  # what it sends does not arrive
    sent: dict[str, str] = field(default_factory=dict)  # the types of events by their ids
    answers: list[int] = field(default_factory=list)
    buyers: dict[str, str] = field(default_factory=dict)  # our ids of people, by the address of their checkout
    now: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(hours=1))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rng, self._lock, self._deliveries = random.Random(0), Lock(), list[Thread]()

    def moment(self) -> datetime:
        return self.now

    # ---- what happens there

    @abstractmethod
    def pay(self, checkout_url: str) -> dict[str, Any]:
        """Let the person who was sent to a checkout pay there. Return the subscription."""

    @abstractmethod
    def miss_payment(self, subscription: dict[str, Any]) -> None:
        """Fail to take the money of the next period."""

    @abstractmethod
    def take_payment(self, subscription: dict[str, Any]) -> None:
        """Take the money that was missing."""

    @abstractmethod
    def refund(self) -> None:
        """Give the first payment back whole."""

    @abstractmethod
    def end(self, subscription: dict[str, Any]) -> None:
        """End a subscription at once."""

    # ---- deliveries

    @abstractmethod
    def event_of(self, sender_id: str, kind: str, data: dict[str, Any]) -> dict[str, Any]: ...

    @abstractmethod
    def sign(self, sender_id: str, body: bytes) -> dict[str, str]: ...

    def emit(self, kind: str, data: dict[str, Any]) -> None:
        with self._lock:
            sender_id = f"evt_{self.kind}_{len(self.sent)}"
            self.sent[sender_id] = kind
            body = json.dumps(self.event_of(sender_id, kind, data)).encode()
            delays = [self.rng.random() * 0.2 for _ in range(2 if self.rng.random() < 0.3 else 1)]
        for delay in delays:
            delivery = Thread(target=self._deliver, args=(sender_id, body, delay), daemon=True)
            self._deliveries.append(delivery)
            delivery.start()

    def _deliver(self, sender_id: str, body: bytes, delay: float) -> None:
        time.sleep(delay)
        pause = FIRST_PAUSE_S
        for _ in range(TRIES):
            if not self.is_cut_off:
                headers = {"Content-Type": "application/json"} | self.sign(sender_id, body)
                answer = httpx.post(self.receiver, content=body, headers=headers, timeout=10)
                self.answers.append(answer.status_code)
                if answer.is_success:
                    return
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def wait(self) -> None:
        """Wait until each delivery was taken, or given up."""
        for delivery in self._deliveries:
            delivery.join(60)


@dataclass
class PolarShop(Shop):
    """Polar. `templates` are a subscription and an order as the API shows them."""

    kind: str = "polar"
    templates: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    def answer(
        self, method: str, path: str, fields: Mapping[str, Any], query: Mapping[str, str], number: int
    ) -> tuple[int, Any]:
        status, value = super().answer(method, path, fields, query, number)
        if path == "/v1/checkouts/" and status == 201:
            self.buyers[value["url"]] = fields["external_customer_id"]
        if method == "PATCH" and status == 200:
            self._touch(value)
            self.emit("subscription.updated", value)
            if "cancel_at_period_end" in fields:
                is_cancelled = fields["cancel_at_period_end"]
                self.emit("subscription.canceled" if is_cancelled else "subscription.uncanceled", value)
        return status, value

    def pay(self, checkout_url: str) -> dict[str, Any]:
        subscription = copy.deepcopy(self.templates["subscription"])
        subscription |= {
            "status": "incomplete",
            "product_id": next(iter(self.products)),
            "current_period_end": (self.now + timedelta(days=30)).isoformat(),
        }
        subscription["customer"]["external_id"] = self.buyers[checkout_url]
        self._touch(subscription)
        self.subscriptions.append(subscription)
        self.emit("subscription.created", subscription)
        self.change(subscription, "subscription.active", status="active")
        order = copy.deepcopy(self.templates["order"])
        order["subscription_id"] = subscription["id"]
        order["customer"]["external_id"] = self.buyers[checkout_url]
        self._touch(order)
        self.payments.append(order)
        self.emit("order.paid", order)
        return subscription

    def miss_payment(self, subscription: dict[str, Any]) -> None:
        self.change(subscription, "subscription.past_due", status="past_due")

    def take_payment(self, subscription: dict[str, Any]) -> None:
        self.change(subscription, "subscription.active", status="active")

    def refund(self) -> None:
        order = self.payments[0]
        amounts = {"refunded_amount": order["net_amount"], "refunded_tax_amount": order["tax_amount"]}
        self.change(order, "order.refunded", status="refunded", **amounts)

    def end(self, subscription: dict[str, Any]) -> None:
        moment = self.now.isoformat()
        self.change(subscription, "subscription.revoked", status="canceled", ended_at=moment, ends_at=moment)

    def change(self, item: dict[str, Any], event: str, **changes: Any) -> None:
        """Change a subscription or an order, and tell it in the event for it and in the general one."""
        item |= changes
        self._touch(item)
        self.emit(event, item)
        self.emit(f"{event.partition('.')[0]}.updated", item)

    def _touch(self, item: dict[str, Any]) -> None:
        self.now += timedelta(seconds=1)
        item["modified_at"] = self.now.isoformat()

    def event_of(self, sender_id: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        return {"type": kind, "timestamp": self.now.isoformat(), "data": data}

    def sign(self, sender_id: str, body: bytes) -> dict[str, str]:
        return sign_polar(body, sender_id=sender_id)


@dataclass
class StripeShop(Shop):
    """Stripe. Its times are whole seconds: what happens in a checkout has one time, and no order that can be seen.

    Invoices and charges are joined by a third object, as since the API of 2025-03-31.
    """

    kind: str = "stripe"

    def answer(
        self, method: str, path: str, fields: Mapping[str, Any], query: Mapping[str, str], number: int
    ) -> tuple[int, Any]:
        status, value = super().answer(method, path, fields, query, number)
        if path == "/v1/checkout/sessions" and status == 200:
            self.buyers[value["url"]] = fields["subscription_data[metadata][user_id]"]
        if method == "POST" and path.startswith("/v1/subscriptions/") and status == 200:
            self.now += timedelta(seconds=1)
            self.emit("customer.subscription.updated", value)
        return status, value

    def pay(self, checkout_url: str) -> dict[str, Any]:
        self.now += timedelta(seconds=1)
        user_id, number = self.buyers[checkout_url], len(self.subscriptions) + 1
        customer_id = f"cus_{number}"
        self.customers.add(customer_id)
        began = int(self.now.timestamp())
        item = {
            "id": f"si_{number}",
            "quantity": 1,
            "current_period_start": began,
            "current_period_end": began + 30 * 86_400,
            "price": {
                "id": next(iter(self.products)),
                "unit_amount": 1200,
                "currency": "eur",
                "recurring": {"interval": "month", "interval_count": 1},
            },
        }
        subscription = {
            "id": f"sub_{number}",
            "object": "subscription",
            "status": "incomplete",
            "customer": customer_id,
            "currency": "eur",
            "items": {"object": "list", "data": [item]},
            "discounts": [],
            "cancel_at_period_end": False,
            "cancel_at": None,
            "canceled_at": None,
            "ended_at": None,
            "start_date": began,
            "metadata": {"user_id": user_id},
        }
        self.subscriptions.append(subscription)
        self.emit("customer.created", {"id": customer_id, "object": "customer", "metadata": {}})
        self.emit("customer.subscription.created", subscription)
        subscription["status"] = "active"
        self.emit("customer.subscription.updated", subscription)
        self._bill(subscription, is_paid=True, reason="subscription_create")
        session = {
            "id": f"cs_{number}",
            "object": "checkout.session",
            "client_reference_id": user_id,
            "customer": customer_id,
            "subscription": subscription["id"],
            "metadata": {"user_id": user_id},
        }
        self.emit("checkout.session.completed", session)
        return subscription

    def miss_payment(self, subscription: dict[str, Any]) -> None:
        self.now += timedelta(seconds=1)
        self._bill(subscription, is_paid=False, reason="subscription_cycle")
        subscription["status"] = "past_due"
        self.emit("customer.subscription.updated", subscription)

    def take_payment(self, subscription: dict[str, Any]) -> None:
        self.now += timedelta(seconds=1)
        self._take(self.payments[-1])
        subscription["status"] = "active"
        self.emit("customer.subscription.updated", subscription)

    def refund(self) -> None:
        self.now += timedelta(seconds=1)
        number, total = self.payments[0]["id"].removeprefix("in_"), self.payments[0]["total"]
        charge = {"id": f"ch_{number}", "object": "charge", "payment_intent": f"pi_{number}", "amount": total}
        self.emit("charge.refunded", charge | {"customer": self.payments[0]["customer"], "amount_refunded": total})

    def end(self, subscription: dict[str, Any]) -> None:
        self.now += timedelta(seconds=1)
        subscription |= {"status": "canceled", "ended_at": int(self.now.timestamp())}
        self.emit("customer.subscription.deleted", subscription)

    def _bill(self, subscription: dict[str, Any], *, is_paid: bool, reason: str) -> None:
        number = len(self.payments) + 1
        invoice = {
            "id": f"in_{number}",
            "object": "invoice",
            "status": "draft",
            "customer": subscription["customer"],
            "currency": "eur",
            "created": int(self.now.timestamp()),
            "billing_reason": reason,
            "subtotal": 1200,
            "total_discount_amounts": [],
            "total_excluding_tax": 1200,
            "total_taxes": [{"amount": 252, "tax_behavior": "exclusive"}],
            "total": 1452,
            "amount_due": 1452,
            "number": None,
            "parent": {"subscription_details": {"subscription": subscription["id"]}},
            "metadata": {},
        }
        self.payments.append(invoice)
        self.emit("invoice.created", invoice)
        invoice |= {
            "status": "open",
            "number": f"ABC-{number:04}",
            "hosted_invoice_url": f"https://invoice.stripe.example/i/{number}",
        }
        self.emit("invoice.finalized", invoice)
        if is_paid:
            self._take(invoice)
        else:
            self.emit("invoice.payment_failed", invoice)

    def _take(self, invoice: dict[str, Any]) -> None:
        number = invoice["id"].removeprefix("in_")
        invoice["status"] = "paid"
        self.emit("invoice.paid", invoice)
        self.emit("invoice.payment_succeeded", invoice)
        paid_with = {"type": "payment_intent", "payment_intent": f"pi_{number}"}
        self.emit(
            "invoice_payment.paid",
            {"id": f"inpay_{number}", "object": "invoice_payment", "invoice": invoice["id"], "payment": paid_with},
        )

    def event_of(self, sender_id: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": sender_id,
            "object": "event",
            "api_version": "2026-10-28.dahlia",
            "created": int(self.now.timestamp()),
            "livemode": False,
            "type": kind,
            "data": {"object": data},
        }

    def sign(self, sender_id: str, body: bytes) -> dict[str, str]:
        return sign_stripe(body)
