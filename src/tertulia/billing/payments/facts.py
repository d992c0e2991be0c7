"""What an event of a payment provider says, in our words. Pure; parsed tolerantly: a new field or word is no error."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

GRANTING = ("active", "trialing")
# Fields of a subscription that an event may change. An event without a field leaves it as it is.
# Texts with the length of their columns.
SUBSCRIPTION_TEXTS = {
    "customer_id": 100,
    "customer_external_id": 100,
    "product_id": 100,
    "checkout_id": 100,
    "discount_id": 100,
    "status": 40,
    "recurring_interval": 20,
    "cancellation_reason": 100,
    "cancellation_comment": 5000,
}
SUBSCRIPTION_TIMES = (
    "current_period_start",
    "current_period_end",
    "trial_start",
    "trial_end",
    "canceled_at",
    "started_at",
    "ends_at",
    "ended_at",
    "past_due_at",
    "paused_at",
    "resumes_at",
)


@dataclass(frozen=True)
class SubscriptionFacts:
    """What is said of one subscription at a moment of the sender. `values` are columns, only those that are named."""

    id: str
    moment: datetime
    values: Mapping[str, Any]


@dataclass(frozen=True)
class PaymentFacts:
    id: str
    moment: datetime
    values: Mapping[str, Any]


@dataclass(frozen=True)
class EventFacts:
    """An event. `active` lists the ids of all subscriptions of a customer that grant access, if the event says so."""

    type: str | None
    api_version: str | None = None
    sent_at: datetime | None = None
    object_id: str | None = None
    customer_id: str | None = None
    customer_external_id: str | None = None
    subscriptions: tuple[SubscriptionFacts, ...] = ()
    payment: PaymentFacts | None = None
    active: frozenset[str] | None = None
    # What was paid with, which joins the events about one payment that do not name it; and how much of it came back.
    link_id: str | None = None
    refunded: int | None = None
    rank: int = 0  # orders events with equal times


UNREADABLE = EventFacts(None)


@dataclass
class Folded:
    """A subscription after its events in the order of the sender."""

    values: dict[str, Any] = field(default_factory=dict)
    moment: datetime | None = None


Order = tuple[datetime, datetime, int, str]
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def fold_subscription(subscription_id: str, events: list[tuple[EventFacts, str]]) -> Folded | None:
    """Apply all events about a subscription in the order of the sender's times. Their order of arrival does not matter.

    Each event comes with the sender's id, which decides between equal times. None: no event describes it.
    """
    changes: list[tuple[Order, Mapping[str, Any] | None]] = []
    for event, sender_id in events:
        sent_at = event.sent_at or BEGINNING
        for facts in event.subscriptions:
            if facts.id == subscription_id:
                changes.append(((facts.moment, sent_at, event.rank, sender_id), facts.values))
        if event.active is not None and subscription_id not in event.active:
            changes.append(((sent_at, sent_at, event.rank, sender_id), None))
    folded = Folded()
    late_since: datetime | None = None  # for providers that do not say it
    for order, values in sorted(changes, key=lambda change: change[0]):
        if values is not None:
            folded.values |= values
            folded.moment = order[0]
            is_late = folded.values.get("status") == "past_due"
            late_since = (late_since or order[0]) if is_late else None
        elif folded.values.get("status") in GRANTING:
            # The sender lists what grants access, and this is not listed: its end did not arrive.
            folded.values |= {"status": "canceled", "ended_at": order[0]}
            folded.moment = order[0]
    if late_since is not None and folded.values.get("past_due_at") is None:
        folded.values["past_due_at"] = late_since
    return folded if folded.values.get("status") is not None else None


def fold_payment(payment_id: str, events: list[tuple[EventFacts, str]]) -> Folded | None:
    """Apply all events about a payment in the order of the sender's times."""
    changes = [
        ((event.payment.moment, event.sent_at or BEGINNING, event.rank, sender_id), event.payment.values)
        for event, sender_id in events
        if event.payment is not None and event.payment.id == payment_id
    ]
    folded = Folded()
    for order, values in sorted(changes, key=lambda change: change[0]):
        folded.values |= values
        folded.moment = order[0]
    refunds: dict[str, tuple[Order, int]] = {}  # an invoice may be paid in parts, of which each can be refunded
    for event, sender_id in events:
        if event.link_id is not None and event.refunded is not None:
            sent_at = event.sent_at or BEGINNING
            refund = ((sent_at, sent_at, event.rank, sender_id), event.refunded)
            refunds[event.link_id] = max(refund, refunds.get(event.link_id, refund))
    if refunds:
        folded.values["refunded_amount"] = sum(amount for _, amount in refunds.values())
    return folded if changes else None


def access_until(values: Mapping[str, Any], *, grace: timedelta) -> tuple[bool, datetime | None]:
    """Return whether a subscription gives access, and until when; None: as long as nothing else is said.

    A payment that is past due keeps access for a grace period. A canceled one keeps it to the end that was paid for.
    """
    ends_at = values.get("ends_at") or (
        values.get("current_period_end") if values.get("cancel_at_period_end") else None
    )
    match values.get("status"):
        case "active" | "trialing":
            return True, ends_at
        case "past_due":
            since = values.get("past_due_at") or values.get("current_period_start") or values.get("modified_at")
            until = (since + grace) if since else None
            return until is not None, min(until, ends_at) if until and ends_at else until
        case "canceled":
            if values.get("ended_at") is not None:
                return False, values["ended_at"]
            return ends_at is not None, ends_at
    return False, None


# ---- reading values

MAX_DEPTH = 10
LONGEST_YEAR = 9000  # later times cannot be reckoned with


def text_of(value: object, limit: int = 100) -> str | None:
    """Return a text without U+0000, which cannot be stored, cut to what its column holds."""
    return value.replace("\x00", "")[:limit] or None if isinstance(value, str) else None


def id_of(value: object, limit: int = 100) -> str | None:
    """Return an id, or None for a text that cannot be one. It is never cut: two ids must not become one."""
    return value if isinstance(value, str) and 0 < len(value) <= limit and value.isprintable() else None


def currency_of(value: object) -> str | None:
    return value.lower() if isinstance(value, str) and len(value) == 3 and value.isalpha() else None


def whole_of(value: object, most: int = 2**62) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < most else None


def mapping_of(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def storable_of(value: object, depth: int = 0) -> Any:
    """Return a value as it can be stored: without U+0000, and without what is nested too deep."""
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, dict):
        return {str(key).replace("\x00", ""): storable_of(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [storable_of(inner, depth + 1) for inner in value]
    return value


def time_of(value: object) -> datetime | None:
    """Return a moment from ISO 8601 text or seconds since 1970, or None."""
    moment: datetime | None = None
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            moment = datetime.fromtimestamp(value, UTC)
        elif isinstance(value, str):
            moment = datetime.fromisoformat(value)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment is not None and 1900 < moment.year < LONGEST_YEAR else None
