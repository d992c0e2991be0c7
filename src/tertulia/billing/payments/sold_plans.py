"""Change plans, and give the buyers of their products what follows from it."""

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.billing import plans
from tertulia.billing.models import PlanProduct
from tertulia.billing.payments.access import refresh_products
from tertulia.billing.payments.webhooks import lock_payments
from tertulia.billing.schemas import PlanCreate, PlanRead, PlanUpdate
from tertulia.ids import PlanId


def create_sold_plan(session: Session, actor: Actor, new: PlanCreate, *, grace: timedelta) -> PlanRead:
    """Create a plan, which buyers of its products have at once. Raises what `create_plan` raises."""
    lock_payments(session)
    plan = plans.create_plan(session, actor, new)
    refresh_products(session, _products(session, plan["id"]), grace=grace)
    return plan


def update_sold_plan(
    session: Session, actor: Actor, plan_id: PlanId, changes: PlanUpdate, *, grace: timedelta
) -> PlanRead:
    """Change a plan. Buyers of products that it gains or loses follow. Raises what `update_plan` raises."""
    lock_payments(session)
    before = _products(session, plan_id)
    plan = plans.update_plan(session, actor, plan_id, changes)
    refresh_products(session, before | _products(session, plan_id), grace=grace)
    return plan


def delete_sold_plan(session: Session, actor: Actor, plan_id: PlanId, *, grace: timedelta) -> None:
    """Delete a plan. Its buyers have what else they bought, or the default. Raises what `delete_plan` raises."""
    lock_payments(session)
    before = _products(session, plan_id)
    plans.delete_plan(session, actor, plan_id)
    refresh_products(session, before, grace=grace)


def _products(session: Session, plan_id: str) -> set[tuple[str, str]]:
    rows = session.execute(sa.select(PlanProduct.source, PlanProduct.product_id).where(PlanProduct.plan_id == plan_id))
    return {(source, product_id) for source, product_id in rows}
