"""Take the person out of stored payment events when their account is deleted. Amounts, times and states stay."""

from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.models import DeletedUser
from tertulia.billing.payments.models import MAX_TRIES, Payment, Subscription, WebhookEvent

AT_ONCE = 50
PERSONAL = frozenset(
    {
        "account_name",
        "address",
        "avatar_url",
        "billing_address",
        "billing_details",
        "billing_name",
        "client_reference_id",
        "customer_address",
        "customer_billing_address",
        "customer_cancellation_comment",
        "customer_details",
        "customer_email",
        "customer_external_id",
        "customer_ip_address",
        "customer_name",
        "customer_phone",
        "customer_shipping",
        "customer_tax_ids",
        "email",
        "external_customer_id",
        "external_id",
        "ip_address",
        "name",
        "phone",
        "receipt_email",
        "shipping",
        "shipping_details",
        "tax_id",
        "tax_ids",
        "user_id",
    }
)


def redact(body: bytes, user_id: str) -> bytes:
    """Return the body of an event without what says who the person is. Pure. One that cannot be read is emptied."""
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        return b"{}"
    return orjson.dumps(_without(event)).replace(user_id.encode(), b"deleted")


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: None if key in PERSONAL else _without(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without(inner) for inner in value]
    return value


def redact_events(session: Session, user_id: str) -> bool:
    """Redact some events about the customers that a user was. Return False if none is left."""
    customers = sa.union(
        *(
            sa.select(table.source, table.customer_id).where(table.user_id == user_id)
            for table in (Subscription, Payment)
        )
    ).subquery()
    of_customer = sa.exists().where(
        customers.c.source == WebhookEvent.source, customers.c.customer_id == WebhookEvent.customer_id
    )
    # One that waits to be applied is redacted then. One that was given up never is.
    is_done = (
        WebhookEvent.redacted_at.is_(None),
        WebhookEvent.processed_at.is_not(None) | (WebhookEvent.tries >= MAX_TRIES),
    )
    rows: list[WebhookEvent] = []
    # One after the other, because each has an index.
    for condition in (WebhookEvent.customer_external_id == user_id, of_customer):
        rows += session.scalars(sa.select(WebhookEvent).where(*is_done, condition).limit(AT_ONCE)).all()
        if rows:
            break
    for row in rows:
        _redact(row, user_id)
    session.flush()
    return bool(rows)


def redact_late(session: Session, event: WebhookEvent, user_id: str | None, customer_id: str | None) -> None:
    """Redact an event that came after its user's account was deleted, also one that names only the customer."""
    if user_id is None and customer_id is not None:
        user_id = session.scalar(
            sa.select(Subscription.customer_external_id)
            .where(
                Subscription.source == event.source,
                Subscription.customer_id == customer_id,
                Subscription.customer_external_id.is_not(None),
            )
            .limit(1)
        )
    if user_id is not None and session.scalar(sa.select(DeletedUser.id).where(DeletedUser.id == user_id)):
        _redact(event, user_id)


def _redact(event: WebhookEvent, user_id: str) -> None:
    event.body, event.redacted_at, event.customer_external_id = redact(event.body, user_id), clock.now(), None
