"""Routes for the administrator's view of the instance."""

import asyncio

from starlette.responses import Response

from tertulia.accounts.caller import CallerDep
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes
from tertulia.instance.largest_users import LargestUsers, get_largest_users
from tertulia.instance.security_report import SecurityReport, make_report, read_stored_parts
from tertulia.settings import Settings

routes = Routes("instance")


@routes.add("GET", "/security-report", access=Access.ADMIN, gives=SecurityReport)
async def get_security_report(caller: CallerDep) -> Response:
    """Return what the administrator should know about the security of the instance."""
    stored = await caller.read(read_stored_parts)
    return json_response(await asyncio.to_thread(make_report, caller.service(Settings), stored))


@routes.add("GET", "/largest-users", access=Access.ADMIN, gives=LargestUsers)
async def get_largest(caller: CallerDep) -> Response:
    """Return the users with the most files or messages, counted once an hour."""
    return json_response(await caller.read(get_largest_users))
