"""Plans: what groups of people may use. A person has one by subscription, by hand, or the default."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import OPERATOR_ID, Actor, require_admin
from tertulia.accounts.allowances import Allowed
from tertulia.accounts.audit import write_audit
from tertulia.accounts.models import User
from tertulia.billing.errors import PlanInUse, PlanIsDefault, PlanNameTaken, PlanNotFound, ProductTaken, TooManyPlans
from tertulia.billing.events import PLAN
from tertulia.billing.models import ApiQuota, Plan, PlanFeature, PlanProduct, PlanSource, UserPlan
from tertulia.billing.schemas import PlanCreate, PlanRead, PlanUpdate, UserPlanRead
from tertulia.db import Prepared, insert_if_absent
from tertulia.errors import NotFound
from tertulia.ids import PlanId, UserId, new_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish

MAX_PLANS = 100


def _bind(name: str, column: Any) -> Any:
    return sa.bindparam(name, type_=column.type)


def plan_of(user: Any, now: Any) -> Any:
    """Select the plan that a user has: by subscription, else by hand, else the default; NULL without any."""
    own = (
        sa.select(UserPlan.plan_id)
        .where(
            UserPlan.user_id == user,
            UserPlan.source == source,
            UserPlan.until.is_(None) | (UserPlan.until > now),
        )
        .scalar_subquery()
        for source in PlanSource  # in the order in which they count
    )
    # Text, because SQLite uses the partial index only for its own words.
    default = sa.select(Plan.id).where(sa.text("plan.is_default")).scalar_subquery()
    return sa.func.coalesce(*own, default, type_=Plan.id.type)


_OWN_PLANS = Prepared(
    sa.select(UserPlan.source, UserPlan.plan_id).where(
        UserPlan.user_id == _bind("user", UserPlan.user_id),
        UserPlan.until.is_(None) | (UserPlan.until > _bind("now", UserPlan.created_at)),
    )
)
_PLAN_OF = Prepared(sa.select(plan_of(_bind("user", UserPlan.user_id), _bind("now", UserPlan.created_at))))


def find_plan_id(session: Session, user_id: str) -> str | None:
    """Return the plan that a user has now: by subscription, else by hand, else the default; None without any."""
    row = _PLAN_OF.first(session, user=user_id, now=clock.now())
    return row[0] if row is not None else None


def find_plan(session: Session, user_id: str) -> Plan | None:
    plan_id = find_plan_id(session, user_id)
    return session.get(Plan, plan_id) if plan_id is not None else None


def find_allowed(session: Session, user_id: str) -> Allowed:
    """Return what the plan of a user allows."""
    plan = find_plan(session, user_id)
    return Allowed(plan.name, plan.models, plan.features) if plan is not None else Allowed()


def get_plan(session: Session, plan_id: str) -> Plan:
    plan = session.get(Plan, plan_id, populate_existing=True)
    if plan is None:
        raise PlanNotFound
    return plan


def create_plan(session: Session, actor: Actor, new: PlanCreate) -> PlanRead:
    """Create a plan. Raises AdminOnly, PlanNameTaken, ProductTaken and TooManyPlans."""
    require_admin(actor)
    if (session.scalar(sa.select(sa.func.count()).select_from(Plan)) or 0) >= MAX_PLANS:
        raise TooManyPlans(MAX_PLANS)
    values = new.model_dump(exclude={"products"})
    if new.is_default:
        _clear_default(session)
    plan_id = new_id()
    now = clock.now()
    if not insert_if_absent(session, Plan, id=plan_id, created_at=now, updated_at=now, **values):
        raise PlanNameTaken(new.name)
    _set_products(session, plan_id, [(product.source, product.product_id) for product in new.products])
    write_audit(session, actor.user_id, "plan.create", entity="plan", entity_id=plan_id)
    return _announced(session, actor, get_plan(session, plan_id), Operation.CREATED)


def update_plan(session: Session, actor: Actor, plan_id: PlanId, changes: PlanUpdate) -> PlanRead:
    """Change a plan. Its people have the changes with their next request. Raises AdminOnly and PlanNotFound."""
    require_admin(actor)
    plan = get_plan(session, plan_id)
    values = changes.model_dump(exclude_unset=True, exclude={"products"})
    if values.get("is_default"):
        _clear_default(session)
    if "name" in values and session.scalar(sa.select(Plan.id).where(Plan.name == values["name"], Plan.id != plan_id)):
        raise PlanNameTaken(values["name"])
    for name, value in values.items():
        setattr(plan, name, value)
    session.flush()
    if changes.products is not None:
        session.execute(sa.delete(PlanProduct).where(PlanProduct.plan_id == plan_id))
        _set_products(session, plan_id, [(product.source, product.product_id) for product in changes.products])
    write_audit(session, actor.user_id, "plan.update", entity="plan", entity_id=plan_id)
    return _announced(session, actor, plan, Operation.UPDATED)


def delete_plan(session: Session, actor: Actor, plan_id: PlanId) -> None:
    """Delete a plan. Raises AdminOnly, PlanNotFound, PlanIsDefault, and PlanInUse while people or limits depend on it."""
    require_admin(actor)
    plan = get_plan(session, plan_id)
    if plan.is_default:
        raise PlanIsDefault(plan.name)
    people = session.scalar(sa.select(sa.func.count()).where(UserPlan.plan_id == plan_id)) or 0
    limits = session.scalar(sa.select(sa.func.count()).where(ApiQuota.plan_id == plan_id)) or 0
    if people or limits:
        raise PlanInUse(plan.name, people=people, limits=limits)
    write_audit(session, actor.user_id, "plan.delete", entity="plan", entity_id=plan_id)
    session.delete(plan)
    session.flush()


def _clear_default(session: Session) -> None:
    session.execute(sa.update(Plan).where(Plan.is_default == sa.true()).values(is_default=False))


def _set_products(session: Session, plan_id: str, products: Sequence[tuple[str, str]]) -> None:
    now = clock.now()
    for source, product_id in products:
        values = {"source": source, "product_id": product_id, "plan_id": plan_id}
        if not insert_if_absent(session, PlanProduct, created_at=now, updated_at=now, **values):
            raise ProductTaken(product_id)


def list_plans(session: Session, actor: Actor) -> list[PlanRead]:
    """List all plans by name for an administrator, and those on offer for others."""
    query = sa.select(Plan).order_by(Plan.name)
    if not actor.is_admin:
        query = query.where(Plan.is_offered == sa.true())
    plans = session.scalars(query).all()
    people: dict[str, int] = {}
    products: dict[str, list[tuple[str, str]]] = {}
    if actor.is_admin:
        counts = sa.select(UserPlan.plan_id, sa.func.count(UserPlan.user_id.distinct())).group_by(UserPlan.plan_id)
        people = {plan_id: count for plan_id, count in session.execute(counts)}
    for source, product_id, plan_id in session.execute(
        sa.select(PlanProduct.source, PlanProduct.product_id, PlanProduct.plan_id)
    ):
        products.setdefault(plan_id, []).append((source, product_id))
    return [read_plan(plan, products.get(plan.id, []), people.get(plan.id, 0)) for plan in plans]


def read_plan(plan: Plan, products: Sequence[tuple[str, str]], people: int) -> PlanRead:
    return {
        "id": plan.id,
        "name": plan.name,
        "description": plan.description,
        "price_minor": plan.price_minor,
        "currency": plan.currency,
        "interval": plan.interval,
        "is_default": plan.is_default,
        "is_offered": plan.is_offered,
        "models": plan.models,
        "features": plan.features,
        "products": [{"source": source, "product_id": product_id} for source, product_id in products],
        "people": people,
        "created_at": plan.created_at,
        "updated_at": plan.updated_at,
    }


def _announced(session: Session, actor: Actor, plan: Plan, operation: Operation) -> PlanRead:
    if actor.user_id != OPERATOR_ID:
        publish(
            session,
            owner_id=actor.user_id,
            topic=f"user:{actor.user_id}",
            entity=PLAN,
            entity_id=plan.id,
            operation=operation,
        )
    products = session.execute(
        sa.select(PlanProduct.source, PlanProduct.product_id).where(PlanProduct.plan_id == plan.id)
    ).all()
    people = session.scalar(sa.select(sa.func.count(UserPlan.user_id.distinct())).where(UserPlan.plan_id == plan.id))
    return read_plan(plan, [(source, product_id) for source, product_id in products], people or 0)


def assign_plan(session: Session, actor: Actor, user_id: UserId, plan_id: PlanId | None) -> UserPlanRead:
    """Give a user a plan by hand, or take it away (None). Raises AdminOnly, NotFound and PlanNotFound."""
    require_admin(actor)
    if session.get(User, user_id) is None:
        raise NotFound
    set_user_plan(session, user_id, PlanSource.HAND, get_plan(session, plan_id).id if plan_id else None)
    write_audit(session, actor.user_id, "plan.assign", entity="user", entity_id=user_id)
    return read_plan_of(session, user_id)


def get_user_plan(session: Session, actor: Actor, user_id: UserId) -> UserPlanRead:
    """Return the plan of any user, for administrators. Raises AdminOnly and NotFound."""
    require_admin(actor)
    if session.get(User, user_id) is None:
        raise NotFound
    return read_plan_of(session, user_id)


def set_user_plan(
    session: Session, user_id: str, source: PlanSource, plan_id: str | None, *, until: datetime | None = None
) -> None:
    """Set or end the plan that a user has from one source, and tell the user's windows if that changes anything."""
    row = session.get(UserPlan, (user_id, source), populate_existing=True)
    before = (row.plan_id, row.until) if row is not None else None
    if before == ((plan_id, until) if plan_id else None):
        return
    if row is not None and plan_id is None:
        session.delete(row)
    elif row is not None:
        row.plan_id, row.until = str(plan_id), until
    else:
        session.add(UserPlan(user_id=user_id, source=source, plan_id=str(plan_id), until=until))
    session.flush()
    announce_plan_of(session, user_id)


def has_due_plan(session: Session) -> bool:
    return session.scalar(sa.select(UserPlan.user_id).where(UserPlan.until <= clock.now()).limit(1)) is not None


def announce_plan_of(session: Session, user_id: str) -> None:
    """Tell the windows of a user that what the user may use has changed."""
    publish(
        session,
        owner_id=user_id,
        topic=f"user:{user_id}",
        entity=PLAN,
        entity_id=user_id,
        operation=Operation.UPDATED,
    )


def read_plan_of(session: Session, user_id: str) -> UserPlanRead:
    """Return the plan that a user has now, and where it comes from."""
    own = {source: plan_id for source, plan_id in _OWN_PLANS.all(session, user=user_id, now=clock.now())}
    source = next((kind for kind in PlanSource if kind in own), None)
    plan = find_plan(session, user_id)
    return {
        "user_id": user_id,
        "hand_plan_id": own.get(PlanSource.HAND),
        "plan_id": plan.id if plan else None,
        "plan_name": plan.name if plan else None,
        "source": source.value if source else ("default" if plan else None),
        "features": list(PlanFeature) if plan is None or plan.features is None else plan.features,
    }
