"""Polar as a shop that sends webhooks: when something is bought, cancelled, not paid, refunded or revoked.

Deliveries are signed. They come in any order, some come twice, and each is sent again until it is answered with a success,
at most ten times with longer pauses, as Polar documents it.
"""

import copy
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock, Thread
from typing import Any

import httpx

from tests.fakes.payment_servers import PaymentServer, sign_polar

TRIES = 10  # of a delivery
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0


@dataclass
class PolarShop(PaymentServer):
    """Polar with its own side of a subscription. `templates` are a subscription and an order as the API shows them."""

    kind: str = "polar"
    templates: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    receiver: str = ""  # our route for its webhooks
    seed: int = 0
    is_cut_off: bool = False  # what it sends does not arrive
    sent: dict[str, str] = field(default_factory=dict)  # the types of events by their ids
    answers: list[int] = field(default_factory=list)
    buyers: dict[str, str] = field(default_factory=dict)  # by checkout
    now: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(hours=1))

    def __post_init__(self) -> None:
        super().__post_init__()
        self._rng, self._lock, self._deliveries = random.Random(self.seed), Lock(), list[Thread]()

    # ---- what happens at Polar

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
        """Let the person who was sent to a checkout pay there."""
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

    def change(self, item: dict[str, Any], event: str, **changes: Any) -> None:
        """Change a subscription or an order, and tell it in the event for it and in the general one."""
        item |= changes
        self._touch(item)
        self.emit(event, item)
        self.emit(f"{event.partition('.')[0]}.updated", item)

    def _touch(self, item: dict[str, Any]) -> None:
        self.now += timedelta(seconds=1)
        item["modified_at"] = self.now.isoformat()

    # ---- deliveries

    def emit(self, event: str, data: dict[str, Any]) -> None:
        with self._lock:
            sender_id = f"msg_{len(self.sent)}"
            self.sent[sender_id] = event
            body = json.dumps({"type": event, "timestamp": self.now.isoformat(), "data": data}).encode()
            delays = [self._rng.random() * 0.2 for _ in range(2 if self._rng.random() < 0.3 else 1)]
        for delay in delays:
            delivery = Thread(target=self._deliver, args=(sender_id, body, delay), daemon=True)
            self._deliveries.append(delivery)
            delivery.start()

    def _deliver(self, sender_id: str, body: bytes, delay: float) -> None:
        time.sleep(delay)
        pause = FIRST_PAUSE_S
        for _ in range(TRIES):
            if not self.is_cut_off:
                headers = {"Content-Type": "application/json"} | sign_polar(body, sender_id=sender_id)
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
