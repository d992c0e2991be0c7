"""Store deliveries of payment providers, and apply them: effect and `processed_at` in one transaction."""

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor, require_admin
from tertulia.accounts.audit import write_audit
from tertulia.accounts.models import User
from tertulia.billing.events import PLAN
from tertulia.billing.models import PlanProduct, PlanSource
from tertulia.billing.payments.errors import WebhookEventNotFound
from tertulia.billing.payments.facts import EventFacts, access_until, fold_payment, fold_subscription
from tertulia.billing.payments.models import Payment, Subscription, WebhookEvent, WebhookRefusal
from tertulia.billing.payments.protocol import PaymentProviders, Payments
from tertulia.billing.payments.schemas import WebhookEventRead, WebhookRefusalRead
from tertulia.billing.plans import set_user_plan
from tertulia.db import Prepared, insert_if_absent, table_of
from tertulia.ids import WebhookEventId, new_id, parse_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish

AT_ONCE = 20  # deliveries that are applied in one transaction
MAX_TRIES = 10
RETRY_AFTER = timedelta(seconds=30)
MAX_SHOWN = 20_000  # characters of a body
MAX_FOLDED = 1000  # events of one customer that are looked at, the newest
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
log = logging.getLogger(__name__)


def store_delivery(
    session: Session, payments: Payments, sender_id: str, body: bytes, *, event: EventFacts | None = None
) -> bool:
    """Store a delivery. Return False if it is stored already: a repetition has no effect."""
    facts = event or payments.parse(body)
    now = clock.now()
    return insert_if_absent(
        session,
        WebhookEvent,
        id=new_id(),
        source=payments.source,
        sender_id=sender_id,
        type=facts.type,
        api_version=facts.api_version,
        object_id=facts.object_id,
        customer_id=facts.customer_id,
        sent_at=facts.sent_at,
        received_at=now,
        body=body,
        tries=0,
        created_at=now,
        updated_at=now,
    )


def has_unprocessed(session: Session) -> bool:
    return session.scalar(_unprocessed().limit(1)) is not None


def _unprocessed() -> sa.Select[str]:
    waited = clock.now() - RETRY_AFTER
    return sa.select(WebhookEvent.id).where(
        WebhookEvent.processed_at.is_(None),
        WebhookEvent.tries < MAX_TRIES,
        (WebhookEvent.tries == 0) | (WebhookEvent.updated_at < waited),
    )


def process_deliveries(session: Session, providers: PaymentProviders, *, grace: timedelta) -> int:
    """Apply the oldest deliveries that are not applied yet, and return how many there were.

    One that fails keeps its error and is tried again later. It does not hold up others.
    """
    ids = session.scalars(_unprocessed().order_by(WebhookEvent.received_at).limit(AT_ONCE)).all()
    for event_id in ids:
        event = session.get_one(WebhookEvent, event_id, with_for_update=True, populate_existing=True)
        try:
            with session.begin_nested():
                apply_event(session, event, providers, grace=grace)
                event.processed_at, event.error = clock.now(), None
        except sa.exc.DBAPIError:
            raise  # the database, not the event
        except Exception as error:
            log.exception("a webhook event cannot be applied", extra={"event_id": event_id})
            event.tries += 1
            event.error = f"{type(error).__name__}: {error}"[:1000]
        session.flush()
    return len(ids)


def apply_event(session: Session, event: WebhookEvent, providers: PaymentProviders, *, grace: timedelta) -> None:
    """Bring the subscriptions and payments that an event is about to the state that all their events say."""
    payments = providers.find(event.source)
    if payments is None:
        raise LookupError(f"{event.source} is not set up any more")
    facts = payments.parse(event.body)
    events = _related(session, event, payments, facts)
    subscription_ids = {known.id for known in facts.subscriptions}
    if facts.active is not None and facts.customer_id:
        of_customer = sa.select(Subscription.id).where(
            Subscription.source == event.source, Subscription.customer_id == facts.customer_id
        )
        subscription_ids |= set(session.scalars(of_customer))
    for subscription_id in sorted(subscription_ids):
        _store_subscription(session, event.source, subscription_id, events, grace=grace)
    payment_ids = {facts.payment.id} if facts.payment is not None else set()
    if facts.customer_id:  # an event may only now say whose earlier payments are
        nameless = sa.select(Payment.id).where(
            Payment.source == event.source, Payment.customer_id == facts.customer_id, Payment.user_id.is_(None)
        )
        payment_ids |= set(session.scalars(nameless))
    for payment_id in sorted(payment_ids):
        _store_payment(session, event.source, payment_id, events)


def _related(
    session: Session, event: WebhookEvent, payments: Payments, facts: EventFacts
) -> list[tuple[EventFacts, str]]:
    """Return the events of the same customer or object, with the sender's ids."""
    same = [WebhookEvent.object_id == event.object_id] if event.object_id else []
    named = [known.id for known in facts.subscriptions]
    if named:
        same.append(WebhookEvent.object_id.in_(named))
    if event.customer_id:
        same.append(WebhookEvent.customer_id == event.customer_id)
    if not same:
        return [(facts, event.sender_id)]
    rows = session.execute(
        sa.select(WebhookEvent.body, WebhookEvent.sender_id)
        .where(WebhookEvent.source == event.source, sa.or_(*same))
        .order_by(WebhookEvent.sent_at.desc())
        .limit(MAX_FOLDED)
    )
    return [(payments.parse(body), sender_id) for body, sender_id in rows]


def _store_subscription(
    session: Session,
    source: str,
    subscription_id: str,
    events: list[tuple[EventFacts, str]],
    *,
    grace: timedelta,
) -> None:
    folded = fold_subscription(subscription_id, events)
    if folded is None:
        return
    user_id = find_user(session, folded.values.get("customer_external_id"))
    row = session.get(Subscription, subscription_id, populate_existing=True)
    before = row.user_id if row is not None else None
    values = folded.values | {"user_id": user_id, "source": source, "modified_at": folded.moment}
    if row is None:
        session.add(Subscription(id=subscription_id, **values))
    else:
        for name, value in values.items():
            setattr(row, name, value)
    session.flush()
    for affected in {before, user_id} - {None}:
        refresh_access(session, str(affected), grace=grace)


def _store_payment(session: Session, source: str, payment_id: str, events: list[tuple[EventFacts, str]]) -> None:
    folded = fold_payment(payment_id, events)
    if folded is None or "total_amount" not in folded.values:
        return
    external = next(
        (
            event.customer_external_id
            for event, _ in events
            if event.customer_external_id is not None
            and (event.customer_id is None or event.customer_id == folded.values.get("customer_id"))
        ),
        None,
    )
    values = folded.values | {"source": source, "user_id": find_user(session, external)}
    row = session.get(Payment, payment_id, populate_existing=True)
    if row is None:
        session.add(Payment(id=payment_id, **values))
    else:
        for name, value in values.items():
            setattr(row, name, value)
    session.flush()
    if values["user_id"] is not None:
        announce_subscription(session, str(values["user_id"]))


def find_user(session: Session, external_id: str | None) -> str | None:
    """Return the user that a customer's external id names, which is our user id. Never by e-mail."""
    try:
        user_id = parse_id(external_id or "")
    except ValueError:
        return None
    return session.scalar(sa.select(User.id).where(User.id == user_id))


def refresh_access(session: Session, user_id: str, *, grace: timedelta) -> None:
    """Give a user the plan of the subscription that lasts longest, or take it away. Tells the user's windows."""
    now = clock.now()
    best: tuple[datetime, str] | None = None  # until when, and the plan
    rows = session.execute(
        sa.select(Subscription, PlanProduct.plan_id)
        .join(
            PlanProduct,
            (PlanProduct.source == Subscription.source) & (PlanProduct.product_id == Subscription.product_id),
        )
        .where(Subscription.user_id == user_id)
        .order_by(Subscription.id)
    )
    for row, plan_id in rows:
        has_access, until = access_until(values_of(row), grace=grace)
        if has_access and (until is None or until > now):
            candidate = (until or FOREVER, plan_id)
            best = max(best, candidate) if best else candidate
    if best is None:
        set_user_plan(session, user_id, PlanSource.SUBSCRIPTION, None)
    else:
        until = None if best[0] == FOREVER else best[0]
        set_user_plan(session, user_id, PlanSource.SUBSCRIPTION, best[1], until=until)
    announce_subscription(session, user_id)


def values_of(row: Subscription) -> dict[str, Any]:
    """Return the columns of a subscription that decide about access."""
    names = ("status", "ends_at", "ended_at", "current_period_start", "current_period_end", "past_due_at")
    return {name: getattr(row, name) for name in (*names, "cancel_at_period_end", "modified_at")}


def refresh_products(session: Session, products: Iterable[tuple[str, str]], *, grace: timedelta) -> None:
    """Give the buyers of products the plans that these belong to now."""
    for source, product_id in sorted(products):
        buyers = sa.select(Subscription.user_id).where(
            Subscription.source == source, Subscription.product_id == product_id, Subscription.user_id.is_not(None)
        )
        for user_id in set(session.scalars(buyers)):
            refresh_access(session, str(user_id), grace=grace)


def announce_subscription(session: Session, user_id: str) -> None:
    publish(
        session,
        owner_id=user_id,
        topic=f"user:{user_id}",
        entity=PLAN,
        entity_id=user_id,
        operation=Operation.UPDATED,
    )


# ---- refused deliveries


_COUNT = {
    dialect: Prepared(
        insert(table_of(WebhookRefusal)).on_conflict_do_update(
            index_elements=["source", "reason", "date"],
            set_={"count": table_of(WebhookRefusal).c.count + insert(table_of(WebhookRefusal)).excluded.count},
        )
    )
    for dialect, insert in (
        ("sqlite", sa.dialects.sqlite.insert),
        ("postgresql", sa.dialects.postgresql.insert),
    )
}


def store_refusals(session: Session, counts: Mapping[str, int]) -> None:
    """Add counts of refused deliveries, by `source reason`, to those of today."""
    now = clock.now()
    for key, count in sorted(counts.items()):
        source, reason = key.split(" ", 1)
        _COUNT[session.get_bind().dialect.name].run(
            session, source=source, reason=reason, date=now.date(), count=count, created_at=now
        )


# ---- for administrators


def list_events(
    session: Session, actor: Actor, *, is_failed: bool, after: str | None, limit: int
) -> list[WebhookEventRead]:
    """List deliveries, newest first; with `is_failed`, those that could not be applied. Raises AdminOnly."""
    require_admin(actor)
    query = sa.select(WebhookEvent).order_by(WebhookEvent.id.desc()).limit(limit)
    if is_failed:
        query = query.where(WebhookEvent.processed_at.is_(None))
    if after is not None:
        query = query.where(WebhookEvent.id < after)
    return [read_event(row) for row in session.scalars(query)]


def list_refusals(session: Session, actor: Actor, *, since: date) -> list[WebhookRefusalRead]:
    require_admin(actor)
    rows = session.scalars(
        sa.select(WebhookRefusal).where(WebhookRefusal.date >= since).order_by(WebhookRefusal.date.desc())
    )
    return [
        {"source": row.source, "reason": row.reason, "date": row.date.isoformat(), "count": row.count} for row in rows
    ]


def replay_event(session: Session, actor: Actor, event_id: WebhookEventId) -> WebhookEventRead:
    """Let a delivery be applied again. Raises AdminOnly and WebhookEventNotFound."""
    require_admin(actor)
    event = session.get(WebhookEvent, event_id, with_for_update=True, populate_existing=True)
    if event is None:
        raise WebhookEventNotFound
    event.processed_at, event.tries, event.error = None, 0, None
    session.flush()
    write_audit(session, actor.user_id, "webhook.replay", entity="webhook_event", entity_id=event_id)
    return read_event(event)


def read_event(row: WebhookEvent) -> WebhookEventRead:
    return {
        "id": row.id,
        "source": row.source,
        "sender_id": row.sender_id,
        "type": row.type,
        "api_version": row.api_version,
        "object_id": row.object_id,
        "sent_at": row.sent_at,
        "received_at": row.received_at,
        "processed_at": row.processed_at,
        "tries": row.tries,
        "error": row.error,
        "size_bytes": len(row.body),
        "body": row.body.decode("utf-8", "replace")[:MAX_SHOWN],
    }
