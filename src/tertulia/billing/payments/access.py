"""Give people the plans that their subscriptions pay for, and take them away when their time has passed."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.billing.models import Plan, PlanProduct, PlanSource, UserPlan
from tertulia.billing.payments.facts import access_until
from tertulia.billing.payments.models import Subscription
from tertulia.billing.plans import announce_plan_of, set_user_plan

FOREVER = datetime(9999, 1, 1, tzinfo=UTC)


def refresh_access(session: Session, user_id: str, *, grace: timedelta) -> None:
    """Give a user the most expensive plan that a subscription of theirs gives, or take it away.

    Of equal plans, the one that lasts longest counts. Tells the user's windows.
    """
    now = clock.now()
    offers: list[tuple[int, datetime, str]] = []  # price, until when, and the plan
    rows = session.execute(
        sa.select(Subscription, Plan.id, Plan.price_minor)
        .join(
            PlanProduct,
            (PlanProduct.source == Subscription.source) & (PlanProduct.product_id == Subscription.product_id),
        )
        .join(Plan, Plan.id == PlanProduct.plan_id)
        .where(Subscription.user_id == user_id)
    )
    for row, plan_id, price in rows:
        has_access, until = access_until(values_of(row), grace=grace)
        if has_access and (until is None or until > now):
            offers.append((price or 0, until or FOREVER, plan_id))
    if not offers:
        set_user_plan(session, user_id, PlanSource.SUBSCRIPTION, None)
    else:
        _, ends_at, plan_id = max(offers)
        until = None if ends_at == FOREVER else ends_at
        set_user_plan(session, user_id, PlanSource.SUBSCRIPTION, plan_id, until=until)
    announce_plan_of(session, user_id)


def end_due_plans(session: Session, *, grace: timedelta) -> int:
    """End up to 50 plans whose time has passed, and tell their people's windows. Return how many there were.

    Another subscription of the same person may give a plan from now on.
    """
    due = sa.select(UserPlan).where(UserPlan.until <= clock.now()).limit(50).with_for_update(skip_locked=True)
    rows = session.scalars(due).all()
    for row in rows:
        user_id, source = row.user_id, row.source
        set_user_plan(session, user_id, source, None)
        if source is PlanSource.SUBSCRIPTION:
            refresh_access(session, user_id, grace=grace)
    return len(rows)


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
