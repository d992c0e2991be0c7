"""Compare our subscriptions and payments with the payment provider's once a day, and mend what was missed."""

import asyncio
import hashlib
import logging
from datetime import timedelta
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.billing.payments.facts import EventFacts
from tertulia.billing.payments.models import Payment, Subscription, WebhookEvent
from tertulia.billing.payments.protocol import PaymentProviders, Payments
from tertulia.billing.payments.webhooks import store_delivery
from tertulia.db import Database
from tertulia.errors import AppError
from tertulia.jobs.service import take_turn

EVERY = timedelta(days=1)
CHECK_S = 600.0
log = logging.getLogger(__name__)
# What is compared of a subscription and of a payment.
_SUBSCRIPTION = ("status", "product_id", "current_period_end", "cancel_at_period_end", "ends_at", "ended_at")
_PAYMENT = ("status", "total_amount", "refunded_amount")


class Reconciler:
    """Asks each payment provider for everything it has, once a day in one process. What differs becomes an event."""

    def __init__(self, db: Database, providers: PaymentProviders, owner: str) -> None:
        self._db = db
        self._providers = providers
        self._owner = owner
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if any(payments.can_call for payments in self._providers.by_source.values()):
            self._task = asyncio.create_task(self._repeat(), name="reconcile-payments")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _repeat(self) -> None:
        while True:
            try:
                if await self._db.write(take_turn, "reconcile-payments", self._owner, every_s=EVERY.total_seconds()):
                    await self.reconcile()
            except AppError as error:
                log.warning("payments cannot be reconciled: %s", error.detail)
            except Exception:
                log.exception("reconciling payments failed; trying again later")
            await asyncio.sleep(CHECK_S)

    async def reconcile(self) -> int:
        """Compare everything with every provider now, and return how many events were missed."""
        missed = 0
        for payments in self._providers.by_source.values():
            if not payments.can_call:
                continue
            async for kind, data in payments.list_objects():
                missed += await self._db.write(mend, payments, kind, data)
        if missed:
            log.warning("%d events of payments were missed and are mended", missed)
        return missed


def mend(session: Session, payments: Payments, kind: str, data: dict[str, Any]) -> bool:
    """Store an event about an object that differs from what we know of it. Return whether it was missed."""
    body = payments.as_event(kind, data, clock.now())
    facts = payments.parse(body)
    if not _differs(session, facts):
        return False
    digest = hashlib.sha256(orjson.dumps(data, option=orjson.OPT_SORT_KEYS)).hexdigest()
    sender_id = f"reconciled:{facts.object_id}:{digest[:32]}"
    if store_delivery(session, payments, sender_id, body, event=facts):
        return True
    # The same state was mended before, and another event has changed it since: apply it again.
    session.execute(
        sa.update(WebhookEvent)
        .where(WebhookEvent.source == payments.source, WebhookEvent.sender_id == sender_id)
        .values(body=body, sent_at=facts.sent_at, processed_at=None, tries=0)
    )
    return True


def _differs(session: Session, facts: EventFacts) -> bool:
    for known in facts.subscriptions:
        row = session.get(Subscription, known.id)
        if row is None or any(
            getattr(row, name) != known.values[name] for name in _SUBSCRIPTION if name in known.values
        ):
            return True
    if facts.payment is not None:
        payment = session.get(Payment, facts.payment.id)
        return payment is None or any(
            getattr(payment, name) != facts.payment.values[name] for name in _PAYMENT if name in facts.payment.values
        )
    return False
