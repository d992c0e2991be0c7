"""Routes for usage and cost, quotas and the limits that apply, and plans."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta, timezone
from typing import Annotated, Literal

from fastapi import Query
from pydantic import AfterValidator
from sqlalchemy.orm import Session
from starlette.responses import Response, StreamingResponse

from tertulia import clock
from tertulia.accounts.actor import Actor, require_admin
from tertulia.accounts.caller import Caller, CallerDep, CommandDep
from tertulia.accounts.row_limits import StorageLimit
from tertulia.billing import notices, plans, quotas, reconciling, usage
from tertulia.billing.bills import read_bill
from tertulia.billing.counts import get_message_count
from tertulia.billing.exports import CsvFile, JsonFile
from tertulia.billing.limits_read import list_limits, list_limits_of
from tertulia.billing.payments import sold_plans
from tertulia.billing.people import get_project_use, list_people_use
from tertulia.billing.schemas import (
    CorrectionCreate,
    Limits,
    PersonUse,
    PlanAssignment,
    PlanCreate,
    PlanList,
    PlanRead,
    PlanUpdate,
    ProjectUse,
    QuotaCreate,
    QuotaNoticeRead,
    QuotaRead,
    QuotaUpdate,
    ReconciliationCreate,
    ReconciliationRead,
    UsageGroup,
    UsageReport,
    UserPlanRead,
)
from tertulia.billing.windows import zone_of
from tertulia.clock import is_zone
from tertulia.http.paging import Cursors, CursorText, Limit, Page
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes
from tertulia.http.times import DayOrMoment, start_of
from tertulia.ids import AnyId, PlanId, ProjectId, QuotaId, QuotaNoticeId, ReconciliationId, UserId
from tertulia.settings import Settings

DEFAULT_DAYS = 30
MAX_EXPORTED = 100_000  # groups of a day in a file


def _groups(value: str) -> str:
    for name in value.split(","):
        if name not in usage.GROUPS:
            raise ValueError(f"Group by {', '.join(usage.GROUPS)}, or by several of them separated by commas.")
    if len(set(value.split(","))) != value.count(",") + 1:
        raise ValueError("Name each group only once.")
    if len({"chat", "project", "token", "user"} & set(value.split(","))) > 1:
        raise ValueError("Group by one of chat, project, token and user at a time.")
    if {"tool", "model"} <= set(value.split(",")):
        raise ValueError("Group by tool or by model, not by both.")
    return value


def _zone(value: str) -> str:
    if not is_zone(value):
        raise ValueError("This is no time zone. Use a name such as Europe/Madrid.")
    return value


routes = Routes("usage")

Since = Annotated[
    DayOrMoment | None,
    Query(description="Start of the period: a time, or a day in the time zone. Defaults to 30 days ago."),
]
Until = Annotated[
    DayOrMoment | None,
    Query(description="End of the period: a time, or the day in the time zone before which it ends. Defaults to now."),
]
By = Annotated[
    str,
    Query(
        max_length=40,
        description="`day`, `provider`, `model`, `chat`, `project`, `tool`, `token`, `user`, or several separated by commas.",
    ),
    AfterValidator(_groups),
]
Offset = Annotated[int, Query(ge=-840, le=840, description="Offset from UTC in minutes, for `day`.")]
TimeZone = Annotated[
    str | None,
    Query(max_length=64, description="The IANA time zone for `day`, instead of `utc_offset`."),
    AfterValidator(lambda value: value if value is None else _zone(value)),
]
Whose = Annotated[
    Literal["me", "everyone"], Query(description="`everyone`: all people of this server, for administrators.")
]


def _query(
    since: Since, until: Until, group_by: str, utc_offset: int, time_zone: str | None, of: str
) -> usage.UsageQuery:
    zone = zone_of(time_zone) if time_zone else None
    days_in = zone or timezone(timedelta(minutes=utc_offset))
    end = start_of(until, days_in) if until else clock.now() + timedelta(seconds=1)
    by: list[usage.GroupBy] = group_by.split(",")  # type: ignore[assignment]
    return usage.UsageQuery(
        start_of(since, days_in) if since else end - timedelta(days=DEFAULT_DAYS),
        end,
        by,
        zone,
        utc_offset * 60,
        is_everyone=of == "everyone",
    )


@routes.add("GET", "/usage", access=Access.SIGNED_IN, gives=UsageReport)
async def get_usage(
    caller: CallerDep,
    since: Since = None,
    until: Until = None,
    group_by: By = "day",
    utc_offset: Offset = 0,
    time_zone: TimeZone = None,
    of: Whose = "me",
) -> Response:
    """Sum tokens and cost. With `of=everyone`, the period is widened to whole quarters of an hour."""
    query = _query(since, until, group_by, utc_offset, time_zone, of)
    titles, settings = caller.service(usage.ChatTitles), caller.service(Settings)

    def read(session: Session, actor: Actor) -> UsageReport:
        if query.is_everyone:
            require_admin(actor)
        return {
            "items": usage.group_usage(session, actor, query, chat_titles=titles),
            "total": usage.sum_usage(session, actor, query),
            "since": query.since,
            "until": query.until,
            "messages_today": None
            if query.is_everyone
            else get_message_count(session, actor, limit=settings.messages_per_day),
        }

    return json_response(await caller.read_long(read))


@routes.add("GET", "/usage/export", access=Access.SIGNED_IN)
async def export_usage(
    caller: CallerDep,
    since: Since = None,
    until: Until = None,
    group_by: By = "day,provider,model",
    utc_offset: Offset = 0,
    time_zone: TimeZone = None,
    of: Whose = "me",
    format: Annotated[Literal["csv", "json"], Query(description="How the groups are written.")] = "csv",
) -> Response:
    """Download the groups as CSV or JSON. By days, a file can be of any length."""
    query = replace(_query(since, until, group_by, utc_offset, time_zone, of), most=MAX_EXPORTED)
    titles = caller.service(usage.ChatTitles)
    days = query.by_day()
    file = CsvFile(query.by) if format == "csv" else JsonFile(query.by)

    async def groups_of(day: usage.UsageQuery | None) -> list[UsageGroup]:
        return [] if day is None else await caller.read_long(usage.group_usage, day, chat_titles=titles)

    first = await groups_of(next(days, None))  # before the answer begins: it may be refused

    async def written() -> AsyncIterator[bytes]:
        yield file.begin() + file.add(first)
        for day in days:
            yield file.add(await groups_of(day))
        yield file.end()

    # The last day, instead of the moment when the next one begins.
    begin, last = (
        moment.astimezone(query.days_in) for moment in (query.since, query.until - timedelta(microseconds=1))
    )
    name = f"usage-{begin:%Y-%m-%d}-{last:%Y-%m-%d}.{format}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(written(), media_type=file.media_type, headers=headers)


@routes.add("GET", "/usage/projects/{project_id}", access=Access.SIGNED_IN, gives=ProjectUse, problems=(404,))
async def get_use_of_project(caller: CallerDep, project_id: ProjectId) -> Response:
    """Return what everyone together used this month in a project of yours."""
    return json_response(await caller.read(get_project_use, project_id))


@routes.add("GET", "/usage/people", access=Access.ADMIN, gives=Page[PersonUse])
async def get_people_use(caller: CallerDep, limit: Limit = 50, cursor: CursorText = None) -> Response:
    """List people with their plan, what they used this month, and the limit that is nearest; in the order of `/users`."""
    cursors = caller.service(Cursors)
    people = await caller.read(
        list_people_use,
        after=cursors.decode_id("people-use", cursor),
        limit=limit + 1,
        chats=caller.service(quotas.ChatOwnership),
        storage=caller.service(StorageLimit),
        messages_per_day=caller.service(Settings).messages_per_day,
    )
    shown = people[:limit]
    next_cursor = cursors.encode("people-use", [shown[-1]["user_id"]]) if len(people) > limit else None
    return json_response({"items": shown, "next_cursor": next_cursor})


@routes.add("POST", "/usage/reconciliations", access=Access.SIGNED_IN, gives=ReconciliationRead, status=201)
async def post_reconciliation(caller: CommandDep, new: ReconciliationCreate) -> Response:
    """Compare a provider's export of usage or cost with the ledger, by day and model."""
    theirs = await asyncio.to_thread(read_bill, new.provider, new.content)  # before the transaction: it may be long
    prices = caller.service(reconciling.TokenPrices)
    theirs = await caller.read_long(reconciling.price_bill, new.provider, theirs, prices)
    is_everyone = new.of == "everyone"
    ours = await caller.read_long(reconciling.read_ours, new.provider, theirs, is_everyone=is_everyone)
    compared = await asyncio.to_thread(reconciling.compare_bill, new.provider, theirs, ours, is_everyone=is_everyone)
    return await caller.command(201, reconciling.create_reconciliation, compared)


@routes.add(
    "GET",
    "/usage/reconciliations/{reconciliation_id}",
    access=Access.SIGNED_IN,
    gives=ReconciliationRead,
    problems=(404,),
)
async def get_reconciliation(caller: CallerDep, reconciliation_id: ReconciliationId) -> Response:
    return json_response(await caller.read(reconciling.get_reconciliation, reconciliation_id))


@routes.add(
    "POST",
    "/usage/reconciliations/{reconciliation_id}/correct",
    access=Access.SIGNED_IN,
    gives=ReconciliationRead,
    problems=(404, 409),
)
async def post_correction(caller: CommandDep, reconciliation_id: ReconciliationId, new: CorrectionCreate) -> Response:
    """Enter the differences of some days and models in your ledger, as entries of their own."""
    chosen = [(line.day, line.model_name) for line in new.lines]
    return await caller.command(200, reconciling.correct, reconciliation_id, chosen)


# ---- quotas

quota_routes = Routes("quotas")


@quota_routes.add("GET", "/quotas", access=Access.SIGNED_IN, gives=Page[QuotaRead])
async def get_quotas(caller: CallerDep, limit: Limit = 50, cursor: CursorText = None, of: Whose = "me") -> Response:
    """List the quotas that you set for yourself, or with `of=everyone` those of the administrators, newest first."""
    cursors = caller.service(Cursors)
    kind = f"quotas-{of}"
    after = cursors.decode_id(kind, cursor)
    rows = await caller.read(quotas.list_quotas, is_everyone=of == "everyone", after=after, limit=limit + 1)
    return json_response(cursors.page(kind, rows, limit))


@quota_routes.add("POST", "/quotas", access=Access.SIGNED_IN, gives=QuotaRead, status=201, problems=(409,))
async def post_quota(caller: CommandDep, new: QuotaCreate) -> Response:
    """Limit use. People limit themselves, their chats, projects and API tokens; administrators everybody."""
    return await caller.command(201, quotas.create_quota, new, caller.service(quotas.ChatOwnership))


@quota_routes.add("PATCH", "/quotas/{quota_id}", access=Access.SIGNED_IN, gives=QuotaRead, problems=(404,))
async def patch_quota(caller: CommandDep, quota_id: QuotaId, changes: QuotaUpdate) -> Response:
    return await caller.command(200, quotas.update_quota, quota_id, changes)


@quota_routes.add("DELETE", "/quotas/{quota_id}", access=Access.SIGNED_IN, status=204, problems=(404,))
async def delete_quota(caller: CommandDep, quota_id: QuotaId) -> Response:
    return await caller.command(204, quotas.delete_quota, quota_id)


@quota_routes.add("GET", "/limits", access=Access.SIGNED_IN, gives=Limits, problems=(404,))
async def get_limits(
    caller: CallerDep,
    chat_id: Annotated[AnyId | None, Query(description="Also the limits of this chat of yours.")] = None,
    project_id: Annotated[AnyId | None, Query(description="Also the limits of this project of yours.")] = None,
) -> Response:
    """List the limits that apply to you now, the tightest first."""
    return json_response(
        {
            "items": await caller.read(
                list_limits,
                chat_id=chat_id,
                project_id=project_id,
                chats=caller.service(quotas.ChatOwnership),
                storage=caller.service(StorageLimit),
                messages_per_day=caller.service(Settings).messages_per_day,
            )
        }
    )


@quota_routes.add("GET", "/quota-notices", access=Access.SIGNED_IN, gives=Page[QuotaNoticeRead])
async def get_quota_notices(caller: CallerDep, limit: Limit = 50, cursor: CursorText = None) -> Response:
    """List the notices of limits that you have not seen, newest first."""
    cursors = caller.service(Cursors)
    after = cursors.decode_id("quota-notices", cursor)
    rows = await caller.read(notices.list_notices, after=after, limit=limit + 1)
    return json_response(cursors.page("quota-notices", rows, limit))


@quota_routes.add("PUT", "/quota-notices/{notice_id}/seen", access=Access.SIGNED_IN, status=204, problems=(404,))
async def put_notice_seen(caller: CommandDep, notice_id: QuotaNoticeId) -> Response:
    """Show a notice no more, on any of your devices."""
    return await caller.command(204, notices.see_notice, notice_id)


# ---- plans

plan_routes = Routes("plans")


def _grace(caller: Caller) -> timedelta:
    return timedelta(days=caller.service(Settings).payment_grace_days)


@plan_routes.add("GET", "/plans", access=Access.SIGNED_IN, gives=PlanList)
async def get_plans(caller: CallerDep) -> Response:
    """List the plans on offer; all plans for administrators."""
    return json_response({"items": await caller.read(plans.list_plans)})


@plan_routes.add("POST", "/plans", access=Access.ADMIN, gives=PlanRead, status=201, problems=(409,))
async def post_plan(caller: CommandDep, new: PlanCreate) -> Response:
    return await caller.command(201, sold_plans.create_sold_plan, new, grace=_grace(caller))


@plan_routes.add("PATCH", "/plans/{plan_id}", access=Access.ADMIN, gives=PlanRead, problems=(404, 409))
async def patch_plan(caller: CommandDep, plan_id: PlanId, changes: PlanUpdate) -> Response:
    return await caller.command(200, sold_plans.update_sold_plan, plan_id, changes, grace=_grace(caller))


@plan_routes.add("DELETE", "/plans/{plan_id}", access=Access.ADMIN, status=204, problems=(404, 409))
async def delete_plan(caller: CommandDep, plan_id: PlanId) -> Response:
    return await caller.command(204, sold_plans.delete_sold_plan, plan_id, grace=_grace(caller))


@plan_routes.add("GET", "/users/{user_id}/plan", access=Access.ADMIN, gives=UserPlanRead, problems=(404,))
async def get_user_plan(caller: CallerDep, user_id: UserId) -> Response:
    """Return the plan that a user has, and where it comes from."""
    return json_response(await caller.read(plans.get_user_plan, user_id))


@plan_routes.add("GET", "/users/{user_id}/limits", access=Access.ADMIN, gives=Limits, problems=(404,))
async def get_user_limits(caller: CallerDep, user_id: UserId) -> Response:
    """List the limits that apply to a user now, the tightest first, with what is used."""
    items = await caller.read(
        list_limits_of,
        user_id,
        chats=caller.service(quotas.ChatOwnership),
        storage=caller.service(StorageLimit),
        messages_per_day=caller.service(Settings).messages_per_day,
    )
    return json_response({"items": items})


@plan_routes.add("PUT", "/users/{user_id}/plan", access=Access.ADMIN, gives=UserPlanRead, problems=(404,))
async def put_user_plan(caller: CommandDep, user_id: UserId, assignment: PlanAssignment) -> Response:
    """Give a user a plan by hand. A plan by subscription counts first."""
    plan_id = PlanId(assignment.plan_id) if assignment.plan_id else None
    return await caller.command(200, plans.assign_plan, user_id, plan_id)
