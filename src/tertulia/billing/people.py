"""Say what people used this month, for administrators, and what was used in a project, for its owner."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor, require_admin
from tertulia.accounts.models import User
from tertulia.accounts.row_limits import StorageLimit
from tertulia.billing.limits import find_zones
from tertulia.billing.limits_read import list_limits
from tertulia.billing.models import QuotaWindow, SumScope
from tertulia.billing.plans import read_plan_of
from tertulia.billing.quotas import ChatOwnership, owns_project
from tertulia.billing.schemas import PersonUse, ProjectUse
from tertulia.billing.sums import sum_windows
from tertulia.billing.windows import window_at, zone_of
from tertulia.errors import NotFound
from tertulia.ids import ProjectId, UserId


def list_people_use(
    session: Session,
    actor: Actor,
    *,
    after: str | None,
    limit: int,
    chats: ChatOwnership,
    storage: StorageLimit,
    messages_per_day: int | None,
) -> list[PersonUse]:
    """List people in the order of the list of users. Months begin in each person's time zone. Raises AdminOnly."""
    require_admin(actor)
    query = sa.select(User.id, User.role, User.preferences).order_by(User.id).limit(limit)
    if after is not None:
        query = query.where(User.id > after)
    now = clock.now()
    people: list[PersonUse] = []
    for user_id, role, preferences in session.execute(query).all():
        month = window_at(QuotaWindow.MONTH, now, zone_of(preferences.time_zone), is_sliding=False)
        spent = sum_windows(session, SumScope.USER, user_id, [month.starts_at]).settled[month.starts_at]
        limits = list_limits(
            session,
            Actor(UserId(user_id), role),
            chats=chats,
            storage=storage,
            messages_per_day=messages_per_day,
            is_private=False,
        )
        plan = read_plan_of(session, user_id)
        people.append(
            {
                "user_id": user_id,
                "plan_name": plan["plan_name"],
                "plan_source": plan["source"],
                "since": month.starts_at,
                "requests": spent.requests,
                "tokens": spent.input_tokens + spent.output_tokens,
                "cost": spent.cost,
                # Everybody has a limit of storage, which says little until it is near.
                "nearest": next(
                    (item for item in limits if item["quota_id"] or item["left"] * 2 < item["limit"]), None
                ),
            }
        )
    return people


def get_project_use(session: Session, actor: Actor, project_id: ProjectId) -> ProjectUse:
    """Return what everyone together used in a project of the actor this month, in their time zone. Raises NotFound."""
    if not owns_project(session, actor, project_id):
        raise NotFound
    now = clock.now()
    month = window_at(QuotaWindow.MONTH, now, find_zones(session, actor.user_id, now).own, is_sliding=False)
    spent = sum_windows(session, SumScope.PROJECT, project_id, [month.starts_at]).settled[month.starts_at]
    return {
        "project_id": project_id,
        "since": month.starts_at,
        "requests": spent.requests,
        "tokens": spent.input_tokens + spent.output_tokens,
        "cost": spent.cost,
    }
