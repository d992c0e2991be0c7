"""Store deliveries of payment providers, and apply them: effect and `processed_at` in one transaction."""

import logging
import time
from collections.abc import Mapping
from datetime import date, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor, require_admin
from tertulia.accounts.audit import write_audit
from tertulia.accounts.models import User
from tertulia.billing.payments.access import refresh_access
from tertulia.billing.payments.errors import WebhookEventNotFound
from tertulia.billing.payments.facts import EventFacts, fold_payment, fold_subscription
from tertulia.billing.payments.models import MAX_TRIES, Payment, Subscription, WebhookEvent, WebhookRefusal
from tertulia.billing.payments.protocol import Listed, PaymentProviders, Payments
from tertulia.billing.payments.redaction import redact_late
from tertulia.billing.payments.schemas import WebhookEventRead, WebhookRefusalRead
from tertulia.billing.plans import announce_plan_of
from tertulia.db import Prepared, insert_if_absent, table_of
from tertulia.ids import WebhookEventId, new_id, parse_id

AT_ONCE = 10  # deliveries that are applied in one transaction, if they take no longer than WORKS_S
WORKS_S = 0.015
RETRY_AFTER = timedelta(seconds=15)  # doubled with each try
MAX_WAIT = timedelta(hours=6)
PAYMENTS_LOCK = 0x706179  # "pay" in ASCII
MAX_SHOWN = 20_000  # characters of a body
MAX_FOLDED = 300  # events about one object that are looked at, the newest
MAX_OF_CUSTOMER = 20  # events that describe a customer
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
        customer_external_id=facts.customer_external_id,
        link_id=facts.link_id,
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
    return sa.select(WebhookEvent.id).where(
        WebhookEvent.processed_at.is_(None),
        WebhookEvent.tries < MAX_TRIES,
        WebhookEvent.retry_at.is_(None) | (WebhookEvent.retry_at <= clock.now()),
    )


def process_deliveries(session: Session, providers: PaymentProviders, *, grace: timedelta) -> int:
    """Apply the oldest deliveries that are not applied yet, for at most 15 ms, and return how many there were.

    One that fails keeps its error and is tried again later, after those that did not fail.
    """
    lock_payments(session)
    query = _unprocessed().order_by(WebhookEvent.tries, WebhookEvent.received_at).limit(AT_ONCE)
    began = time.monotonic()
    count = 0
    for event_id in session.scalars(query).all():
        _process(session, event_id, providers, grace=grace)
        count += 1
        if time.monotonic() - began > WORKS_S:
            break
    return count


def _process(session: Session, event_id: str, providers: PaymentProviders, *, grace: timedelta) -> None:
    event = session.get_one(WebhookEvent, event_id, with_for_update=True, populate_existing=True)
    try:
        with session.begin_nested():
            apply_event(session, event, providers, grace=grace)
            event.processed_at, event.error, event.retry_at = clock.now(), None, None
    except Exception as error:
        if isinstance(error, sa.exc.DBAPIError) and not isinstance(error, sa.exc.DataError | sa.exc.IntegrityError):
            raise  # the database, not the event
        # The words of an error may quote what was sent, which belongs into no log.
        log.warning("a webhook event cannot be applied: %s", type(error).__name__, extra={"event_id": event_id})
        session.refresh(event)
        event.tries += 1
        event.retry_at = clock.now() + min(RETRY_AFTER * 2**event.tries, MAX_WAIT)
        event.error = error.reason if isinstance(error, NotApplied) else f"Failed with {type(error).__name__}."
    session.flush()


def apply_answer(
    session: Session, payments: Payments, answer: Listed, providers: PaymentProviders, *, grace: timedelta
) -> None:
    """Store what a provider answered to a change as an event, and apply it at once."""
    lock_payments(session)
    body = payments.as_event(answer.type, answer.data, answer.read_at)
    sender_id = f"changed:{new_id()}"
    store_delivery(session, payments, sender_id, body)
    stored = sa.select(WebhookEvent.id).where(
        WebhookEvent.source == payments.source, WebhookEvent.sender_id == sender_id
    )
    _process(session, session.scalars(stored).one(), providers, grace=grace)


class NotApplied(Exception):
    """An event that cannot be applied as things are. The reason is shown to administrators."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def lock_payments(session: Session) -> None:
    """Let no other process apply events or change what products give, until this transaction ends."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(PAYMENTS_LOCK)))


def apply_event(session: Session, event: WebhookEvent, providers: PaymentProviders, *, grace: timedelta) -> None:
    """Bring the subscriptions and payments that an event is about to the state that all their events say.

    Raises NotApplied.
    """
    payments = providers.find(event.source)
    if payments is None:
        raise NotApplied(f"{event.source} is not set up any more.")
    facts = payments.parse(event.body)
    subscription_ids = {known.id for known in facts.subscriptions}
    if facts.active is not None and facts.customer_id:
        of_customer = sa.select(Subscription.id).where(
            Subscription.source == event.source, Subscription.customer_id == facts.customer_id
        )
        subscription_ids |= set(session.scalars(of_customer))
    for subscription_id in sorted(subscription_ids):
        events = _related(session, event, payments, facts, subscription_id)
        _store_subscription(session, event.source, subscription_id, events, grace=grace)
    payment_ids = {facts.payment.id} if facts.payment is not None else set()
    if facts.refunded is not None and facts.link_id is not None:
        payment_ids = _linked_payments(session, event.source, facts.link_id)
    for payment_id in sorted(payment_ids):
        events = _related(session, event, payments, facts, payment_id)
        _store_payment(session, event.source, payment_id, events)
    redact_late(session, event, facts.customer_external_id, facts.customer_id)


def _linked_payments(session: Session, source: str, link_id: str) -> set[str]:
    """Return the ids of the payments that were paid with something. Raises NotApplied: the event is tried again."""
    linked = sa.select(WebhookEvent.object_id).where(
        WebhookEvent.source == source,
        WebhookEvent.link_id == link_id,
        WebhookEvent.type.startswith("invoice_payment."),
        WebhookEvent.object_id.is_not(None),
    )
    payment_ids = {str(object_id) for object_id in session.scalars(linked)}
    if not payment_ids:
        raise NotApplied("It is not known which invoice this belongs to. Let invoice_payment.paid be sent here, too.")
    return payment_ids


def _related(
    session: Session, event: WebhookEvent, payments: Payments, facts: EventFacts, object_id: str
) -> list[tuple[EventFacts, str]]:
    """Return the events about an object, with the sender's ids: its own, and the newest that describe its customer."""
    columns = sa.select(WebhookEvent.id, WebhookEvent.body, WebhookEvent.sender_id).where(
        WebhookEvent.source == event.source
    )
    newest = WebhookEvent.sent_at.desc().nulls_last()
    queries = [columns.where(WebhookEvent.object_id == object_id).order_by(newest).limit(MAX_FOLDED)]
    if facts.customer_id:
        about_customer = WebhookEvent.type.in_(payments.customer_types)
        queries.append(
            columns.where(WebhookEvent.customer_id == facts.customer_id, about_customer)
            .order_by(newest)
            .limit(MAX_OF_CUSTOMER)
        )
    related = {event.id: (facts, event.sender_id)}

    def collect(query: sa.Select[str, bytes, str]) -> None:
        for row_id, body, sender_id in session.execute(query):
            if row_id not in related:
                related[row_id] = (payments.parse(body), sender_id)

    for query in queries:
        collect(query)
    link_ids = {known.link_id for known, _ in related.values() if known.link_id is not None}
    if link_ids:
        collect(columns.where(WebhookEvent.link_id.in_(link_ids)).order_by(newest).limit(MAX_FOLDED))
    return list(related.values())


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
    if row is not None and row.source != source:
        raise NotApplied(f"{row.source} has a subscription with the same id.")
    before = row.user_id if row is not None else None
    values = folded.values | {"user_id": user_id, "source": source, "modified_at": folded.moment}
    if row is None:
        session.add(Subscription(id=subscription_id, **values))
    else:
        for name, value in values.items():
            setattr(row, name, value)
    session.flush()
    customer_id = folded.values.get("customer_id")
    if user_id is not None and customer_id is not None:  # whose earlier payments are is known only now
        nameless = (Payment.source == source, Payment.customer_id == customer_id, Payment.user_id.is_(None))
        session.execute(sa.update(Payment).where(*nameless).values(user_id=user_id))
    for affected in {before, user_id} - {None}:
        refresh_access(session, str(affected), grace=grace)


def _store_payment(session: Session, source: str, payment_id: str, events: list[tuple[EventFacts, str]]) -> None:
    folded = fold_payment(payment_id, events)
    if folded is None or "total_amount" not in folded.values:
        return
    row = session.get(Payment, payment_id, populate_existing=True)
    if row is not None and row.source != source:
        raise NotApplied(f"{row.source} has a payment with the same id.")
    customer_id = folded.values.get("customer_id")
    named = [event.customer_external_id for event, _ in events if event.customer_external_id is not None]
    external_id = named[0] if named else None
    if external_id is None and customer_id is not None:
        external_id = session.scalar(
            sa.select(Subscription.customer_external_id)
            .where(
                Subscription.source == source,
                Subscription.customer_id == customer_id,
                Subscription.customer_external_id.is_not(None),
            )
            .order_by(Subscription.id)
            .limit(1)
        )
    values = folded.values | {"source": source, "user_id": find_user(session, external_id)}
    if row is None:
        session.add(Payment(id=payment_id, **values))
    else:
        if _is_redacted(session, source, payment_id):  # the books keep what the events do not say any more
            values = {name: value for name, value in values.items() if name not in ("billing", "customer", "details")}
        for name, value in values.items():
            setattr(row, name, value)
    session.flush()
    if values["user_id"] is not None:
        announce_plan_of(session, str(values["user_id"]))


def _is_redacted(session: Session, source: str, object_id: str) -> bool:
    redacted = sa.select(WebhookEvent.id).where(
        WebhookEvent.source == source, WebhookEvent.object_id == object_id, WebhookEvent.redacted_at.is_not(None)
    )
    return session.scalar(redacted.limit(1)) is not None


def find_user(session: Session, external_id: str | None) -> str | None:
    """Return the user that a customer's external id names, which is our user id. Never by e-mail."""
    try:
        user_id = parse_id(external_id or "")
    except ValueError:
        return None
    return session.scalar(sa.select(User.id).where(User.id == user_id))


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
    event.processed_at, event.tries, event.error, event.retry_at = None, 0, None, None
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
