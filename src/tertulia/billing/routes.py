"""Routes for usage and cost."""

from datetime import timedelta
from typing import Annotated

from fastapi import Query
from pydantic import AfterValidator
from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.caller import CallerDep
from tertulia.billing import ledger
from tertulia.billing.counts import get_message_count
from tertulia.billing.schemas import UsageReport
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes
from tertulia.http.times import UtcInput
from tertulia.settings import Settings

DEFAULT_DAYS = 30


def _groups(value: str) -> str:
    for name in value.split(","):
        if name not in ("day", "provider", "model", "chat"):
            raise ValueError("Group by day, provider, model or chat, or by several of them separated by commas.")
    if len(set(value.split(","))) != value.count(",") + 1:
        raise ValueError("Name each group only once.")
    return value


routes = Routes("usage")


@routes.add("GET", "/usage", access=Access.SIGNED_IN, gives=UsageReport)
async def get_usage(
    caller: CallerDep,
    since: Annotated[UtcInput | None, Query(description="Start of the period. Defaults to 30 days ago.")] = None,
    until: Annotated[UtcInput | None, Query(description="End of the period. Defaults to now.")] = None,
    group_by: Annotated[
        str,
        Query(max_length=40, description="`day`, `provider`, `model`, `chat`, or several separated by commas."),
        AfterValidator(_groups),
    ] = "day",
    utc_offset: Annotated[int, Query(ge=-840, le=840, description="Offset from UTC in minutes, for `day`.")] = 0,
) -> Response:
    end = until or clock.now() + timedelta(seconds=1)
    begin = since or end - timedelta(days=DEFAULT_DAYS)
    by: list[ledger.GroupBy] = group_by.split(",")  # type: ignore[assignment]

    titles = caller.service(ledger.ChatTitles)

    def read(session: Session, actor: Actor) -> UsageReport:
        return {
            "items": ledger.group_usage(
                session, actor, since=begin, until=end, by=by, chat_titles=titles, utc_offset_s=utc_offset * 60
            ),
            "total": ledger.sum_usage(session, actor, since=begin, until=end),
            "since": begin,
            "until": end,
            "messages_today": get_message_count(session, actor, limit=caller.service(Settings).messages_per_day),
        }

    return json_response(await caller.read_long(read))
