"""Buy and manage plans: what a person has, and the pages of the payment provider."""

from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor, require_session
from tertulia.accounts.models import User
from tertulia.billing.models import Plan, PlanProduct
from tertulia.billing.payments.access import values_of
from tertulia.billing.payments.errors import (
    AccountEnds,
    AlreadySubscribed,
    NotForSale,
    NothingBought,
    PaymentIsDue,
    PaymentNotFound,
    PaymentSourceUnknown,
    SubscriptionNotFound,
    SubscriptionRenews,
)
from tertulia.billing.payments.facts import GRANTING, access_until
from tertulia.billing.payments.models import Payment, Subscription
from tertulia.billing.payments.protocol import Buyer, PaymentProviders
from tertulia.billing.payments.schemas import (
    CheckoutRequest,
    PaymentRead,
    SubscriptionItem,
    SubscriptionRead,
    SubscriptionUpdate,
)
from tertulia.billing.plans import read_plan_of

RESUMING = ("paused", "unpaid", "past_due")  # the words of Polar and Stripe


@dataclass(frozen=True)
class Purchase:
    """What a checkout needs: who buys which product, and where."""

    buyer: Buyer
    source: str
    product_id: str


def prepare_checkout(
    session: Session, actor: Actor, request: CheckoutRequest, providers: PaymentProviders, *, grace: timedelta
) -> Purchase:
    """Return what to buy. Raises NotForSale for a plan that is not on offer, or not sold where it is asked for.

    Raises AlreadySubscribed for a person with a subscription, because a second one would be billed in addition, and
    AccountEnds for a person whose account will be deleted.
    """
    require_session(actor)
    _check_stays(session, actor)
    bought = _subscriptions(session, actor, grace)
    if any(has_access or _can_resume(row) for row, has_access in bought):
        raise AlreadySubscribed
    products = session.execute(
        sa.select(PlanProduct.source, PlanProduct.product_id)
        .join(Plan, Plan.id == PlanProduct.plan_id)
        .where(Plan.id == request.plan_id, Plan.is_offered == sa.true())
        .order_by(PlanProduct.source, PlanProduct.created_at)
    ).all()
    for source, product_id in products:
        payments = providers.find(source)
        if request.source in (None, source) and payments is not None and payments.can_call:
            customers = [row.customer_id for row, _ in bought if row.source == source and row.customer_id]
            return Purchase(_buyer(session, actor, customers[0] if customers else None), source, product_id)
    raise NotForSale


@dataclass(frozen=True)
class Management:
    """Where a person manages what they bought."""

    buyer: Buyer
    source: str


def prepare_portal(session: Session, actor: Actor, providers: PaymentProviders, *, grace: timedelta) -> Management:
    """Return where the actor's subscription is managed: one that gives access, else the newest. Raises NothingBought."""
    require_session(actor)
    for row, _ in sorted(_subscriptions(session, actor, grace), key=lambda item: not item[1]):
        payments = providers.find(row.source)
        if payments is not None and payments.can_call:
            return Management(_buyer(session, actor, row.customer_id), row.source)
    raise NothingBought


@dataclass(frozen=True)
class Change:
    """A change of a subscription: whether it ends with its period, or the product that it is moved to."""

    source: str
    subscription_id: str
    is_cancelled: bool | None = None
    product_id: str | None = None


def prepare_change(
    session: Session,
    actor: Actor,
    subscription_id: str,
    update: SubscriptionUpdate,
    providers: PaymentProviders,
    *,
    grace: timedelta,
) -> Change:
    """Return how to change a subscription of the actor. Raises SubscriptionNotFound, PaymentSourceUnknown, NotForSale."""
    require_session(actor)
    rows = {row.id: row for row, has_access in _subscriptions(session, actor, grace) if has_access}
    if subscription_id not in rows:
        raise SubscriptionNotFound
    source = rows[subscription_id].source
    payments = providers.find(source)
    if payments is None or not payments.can_call:
        raise PaymentSourceUnknown
    if update.plan_id is not None and rows[subscription_id].status not in GRANTING:
        raise PaymentIsDue
    if update.plan_id is not None or update.cancel_at_period_end is False:
        _check_stays(session, actor)
    if update.plan_id is None:
        return Change(source, subscription_id, is_cancelled=update.cancel_at_period_end)
    product_id = session.scalar(
        sa.select(PlanProduct.product_id)
        .join(Plan, Plan.id == PlanProduct.plan_id)
        .where(Plan.id == update.plan_id, Plan.is_offered == sa.true(), PlanProduct.source == source)
        .order_by(PlanProduct.created_at)
        .limit(1)
    )
    if product_id is None:
        raise NotForSale
    return Change(source, subscription_id, product_id=product_id)


def check_no_renewal(session: Session, actor: Actor, providers: PaymentProviders, *, grace: timedelta) -> None:
    """Raise SubscriptionRenews for a person whose subscription goes on, where it can be cancelled."""
    for row, has_access in _subscriptions(session, actor, grace):
        payments = providers.find(row.source)
        ends = row.cancel_at_period_end or row.ends_at is not None
        if (has_access or _can_resume(row)) and not ends and payments is not None and payments.can_call:
            raise SubscriptionRenews


def _can_resume(row: Subscription) -> bool:
    """Return whether a subscription that gives no access may be billed again."""
    return row.ended_at is None and row.status in RESUMING


def _check_stays(session: Session, actor: Actor) -> None:
    if session.scalar(sa.select(User.deletes_at).where(User.id == actor.user_id)) is not None:
        raise AccountEnds


def _subscriptions(session: Session, actor: Actor, grace: timedelta) -> list[tuple[Subscription, bool]]:
    """Return the actor's subscriptions, newest first, and whether each gives access."""
    now = clock.now()
    rows = session.scalars(
        sa.select(Subscription)
        .where(Subscription.user_id == actor.user_id)
        .order_by(Subscription.created_at.desc(), Subscription.id.desc())
        .limit(100)
    )
    granted = [(row, access_until(values_of(row), grace=grace)) for row in rows]
    return [(row, has_access and (until is None or until > now)) for row, (has_access, until) in granted]


def _buyer(session: Session, actor: Actor, customer_id: str | None) -> Buyer:
    user = session.get_one(User, actor.user_id)
    return Buyer(user.id, user.name, user.email, customer_id)


def get_subscription(
    session: Session, actor: Actor, providers: PaymentProviders, *, grace: timedelta
) -> SubscriptionRead:
    """Return the plan of the actor and the subscriptions behind it, newest first."""
    rows = session.execute(
        sa.select(Subscription, Plan.name)
        .outerjoin(
            PlanProduct,
            (PlanProduct.source == Subscription.source) & (PlanProduct.product_id == Subscription.product_id),
        )
        .outerjoin(Plan, Plan.id == PlanProduct.plan_id)
        .where(Subscription.user_id == actor.user_id)
        .order_by(Subscription.created_at.desc(), Subscription.id)
        .limit(100)
    ).all()
    callable_sources = [name for name, payments in providers.by_source.items() if payments.can_call]
    return {
        "plan": read_plan_of(session, actor.user_id),
        "subscriptions": [_item(row, name, grace) for row, name in rows],
        "sources": callable_sources,
        "can_manage": any(row.source in callable_sources for row, _ in rows),
    }


def _item(row: Subscription, plan_name: str | None, grace: timedelta) -> SubscriptionItem:
    is_granted, until = access_until(values_of(row), grace=grace)
    return {
        "id": row.id,
        "source": row.source,
        "status": row.status,
        "product_id": row.product_id,
        "plan_name": plan_name,
        "amount": row.amount,
        "currency": row.currency,
        "recurring_interval": row.recurring_interval,
        "current_period_end": row.current_period_end,
        "cancel_at_period_end": row.cancel_at_period_end,
        "ends_at": row.ends_at,
        "ended_at": row.ended_at,
        "past_due_at": row.past_due_at,
        "has_access": is_granted and (until is None or until > clock.now()),
        "access_until": until if is_granted else None,
    }


@dataclass(frozen=True)
class PaidAt:
    """A payment, and where it was made."""

    source: str
    payment_id: str


def find_payment(session: Session, actor: Actor, payment_id: str, providers: PaymentProviders) -> PaidAt:
    """Return where a payment of the actor was made. Raises PaymentNotFound and PaymentSourceUnknown."""
    require_session(actor)
    payment = session.get(Payment, payment_id)
    if payment is None or payment.user_id != actor.user_id:
        raise PaymentNotFound
    payments = providers.find(payment.source)
    if payments is None or not payments.can_call:
        raise PaymentSourceUnknown
    return PaidAt(payment.source, payment.id)


def list_payments(session: Session, actor: Actor, *, after: str | None, limit: int) -> list[PaymentRead]:
    """List the actor's payments, newest first."""
    # A draft may still change, and nothing is owed for it.
    is_shown = Payment.status.is_(None) | (Payment.status != "draft")
    query = sa.select(Payment).where(Payment.user_id == actor.user_id, is_shown)
    if after is not None:
        last = session.get(Payment, after)
        if last is not None:
            place = sa.tuple_(sa.literal(last.created_at, Payment.created_at.type), sa.literal(last.id))
            query = query.where(sa.tuple_(Payment.created_at, Payment.id) < place)
    rows = session.scalars(query.order_by(Payment.created_at.desc(), Payment.id.desc()).limit(limit))
    return [
        {
            "id": row.id,
            "source": row.source,
            "created_at": row.created_at,
            "status": row.status,
            "is_paid": row.is_paid,
            "subtotal_amount": row.subtotal_amount,
            "discount_amount": row.discount_amount,
            "net_amount": row.net_amount,
            "tax_amount": row.tax_amount,
            "total_amount": row.total_amount,
            "due_amount": row.due_amount,
            "refunded_amount": row.refunded_amount,
            "currency": row.currency,
            "subscription_id": row.subscription_id,
            "billing_reason": row.billing_reason,
            "invoice_number": row.invoice_number,
            "receipt_url": row.receipt_url,
        }
        for row in rows
    ]
