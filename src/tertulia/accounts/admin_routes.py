"""Routes for other users' accounts: for administrators, and for the command line on the server's machine."""

from typing import Annotated

from fastapi import Path, Request
from starlette.responses import Response

from tertulia.accounts import administration, service
from tertulia.accounts.actor import AdminOnly, require_admin
from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.accounts.passwords import check_password, hash_password
from tertulia.accounts.schemas import PasswordReset, UserCreate, UserRead, UserUpdate
from tertulia.accounts.streams import OpenStreams
from tertulia.http.paging import Cursors, CursorText, Limit, Page
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes, service_of
from tertulia.ids import UserId

NamedUser = Annotated[str, Path(max_length=50)]


routes = Routes("users")


@routes.add("GET", "/users", access=Access.ADMIN, gives=Page[UserRead])
async def get_users(caller: CallerDep, limit: Limit = 50, cursor: CursorText = None) -> Response:
    cursors = caller.service(Cursors)
    after = cursors.decode_id("users", cursor)
    users = await caller.read(service.list_users, after=after, limit=limit + 1)
    return json_response(cursors.page("users", users, limit))


@routes.add("POST", "/users", access=Access.ADMIN, gives=UserRead, status=201, problems=(409,))
async def post_user(caller: CommandDep, account: UserCreate) -> Response:
    # Hashing is slow, so callers who may not create users are refused first.
    require_admin(await caller.actor())
    check_password(account.password, names=(account.username, account.name, account.email or ""))
    password_hash = await hash_password(account.password)
    return await caller.command(201, service.create_user, account, password_hash=password_hash)


@routes.add("PATCH", "/users/{user_id}", access=Access.ADMIN, gives=UserRead, problems=(404, 409))
async def patch_user(request: Request, caller: CommandDep, user_id: UserId, update: UserUpdate) -> Response:
    changed = await caller.command(200, administration.update_user, user_id, update)
    await service_of(request, OpenStreams).check_now()
    return changed


# What `tertulia user …` asks a running server for, because on SQLite the server is the only writer.
@routes.add(
    "POST", "/operator/users/{username}/password", access=Access.OPERATOR, gives=UserRead, problems=(404,), hidden=True
)
async def post_password(request: Request, caller: CommandDep, username: NamedUser, reset: PasswordReset) -> Response:
    if not (await caller.actor()).is_operator:
        raise AdminOnly
    check_password(reset.password, names=(username,))
    new_hash = await hash_password(reset.password)
    done = await caller.command(200, administration.reset_password, username, new_hash=new_hash)
    await service_of(request, OpenStreams).check_now()
    return done


@routes.add(
    "POST",
    "/operator/users/{username}/deactivate",
    access=Access.OPERATOR,
    gives=UserRead,
    problems=(404, 409),
    hidden=True,
)
async def post_deactivation(request: Request, caller: CommandDep, username: NamedUser) -> Response:
    if not (await caller.actor()).is_operator:
        raise AdminOnly
    done = await caller.command(200, administration.deactivate_user, username)
    await service_of(request, OpenStreams).check_now()
    return done
