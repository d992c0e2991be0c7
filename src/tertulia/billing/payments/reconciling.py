"""Compare our subscriptions and payments with the payment provider's once a day, and mend what was missed."""

import asyncio
import logging

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.billing.payments.facts import EventFacts
from tertulia.billing.payments.models import Payment, Subscription, WebhookEvent
from tertulia.billing.payments.protocol import Listed, PaymentProviders, Payments
from tertulia.billing.payments.webhooks import store_delivery
from tertulia.db import Database
from tertulia.errors import AppError
from tertulia.jobs.service import extend_turn, take_turn

EVERY_S, RETRY_S = 24 * 3600.0, 3600.0
CHECK_S = 600.0
log = logging.getLogger(__name__)
# What is compared of a subscription and of a payment.
_SUBSCRIPTION = ("status", "product_id", "current_period_end", "cancel_at_period_end", "ends_at", "ended_at")
_PAYMENT = ("status", "total_amount", "refunded_amount")


class Reconciler:
    """Asks each payment provider for everything it has, once a day in one process. What differs becomes an event."""

    def __init__(self, db: Database, providers: PaymentProviders, owner: str) -> None:
        self._db = db
        self._providers = [payments for payments in providers.by_source.values() if payments.can_call]
        self._owner = owner
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._repeat(payments), name=f"reconcile-{payments.source}")
            for payments in self._providers
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _repeat(self, payments: Payments) -> None:
        name = f"reconcile-{payments.source}"
        while True:
            try:
                # The turn is a short one until the work is done, so that a failure is tried again within the hour.
                if await self._db.write(take_turn, name, self._owner, every_s=RETRY_S):
                    await self.reconcile(payments)
                    await self._db.write(extend_turn, name, self._owner, every_s=EVERY_S)
            except AppError as error:
                log.warning("payments of %s cannot be compared, trying again: %s", payments.source, error.detail)
            except Exception:
                log.exception("comparing payments failed, trying again", extra={"source": payments.source})
            await asyncio.sleep(CHECK_S)

    async def reconcile(self, payments: Payments) -> int:
        """Compare everything with a provider now, and return how many events were missed."""
        missed = 0
        async for listed in payments.list_objects():
            missed += await self._db.write(mend, payments, listed)
        if missed:
            log.warning("%d events of %s were missed and are mended", missed, payments.source)
        return missed


def mend(session: Session, payments: Payments, listed: Listed) -> bool:
    """Store an event about an object that differs from what we know of it. Return whether it was missed.

    What was told after the list was read is newer, and is left.
    """
    body = payments.as_event(listed.type, listed.data, listed.read_at)
    facts = payments.parse(body)
    if facts.object_id is None or not _differs(session, facts):
        return False
    newer = sa.select(WebhookEvent.id).where(
        WebhookEvent.source == payments.source,
        WebhookEvent.object_id == facts.object_id,
        WebhookEvent.received_at > listed.read_at,
    )
    if session.scalar(newer.limit(1)) is not None:
        return False
    sender_id = f"reconciled:{facts.object_id}:{listed.read_at:%Y-%m-%dT%H:%M:%S}"
    return store_delivery(session, payments, sender_id, body, event=facts)


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
