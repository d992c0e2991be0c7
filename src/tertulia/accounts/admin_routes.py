"""Routes for other users' accounts and the audit log: for administrators, and for the command line on the server's machine."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from fastapi import Depends, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from tertulia import clock
from tertulia.accounts import administration, service
from tertulia.accounts.actor import Actor, AdminOnly, require_admin
from tertulia.accounts.audit import (
    EXPORT_PAGE,
    After,
    AuditFilter,
    as_csv,
    as_json_lines,
    list_actions,
    list_audit_log,
    next_after,
    note_export,
)
from tertulia.accounts.caller import CallerDep, CommandDep
from tertulia.accounts.passwords import check_password, hash_password
from tertulia.accounts.schemas import AuditActions, AuditEntry, PasswordReset, UserCreate, UserRead, UserUpdate
from tertulia.accounts.streams import OpenStreams
from tertulia.db import Database
from tertulia.http.paging import Cursors, CursorText, Limit, Page
from tertulia.http.responses import json_response
from tertulia.http.routing import Access, Routes, service_of
from tertulia.http.times import UtcInput
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


audit_routes = Routes("audit-log")


@dataclass(frozen=True)
class AuditQuery:
    """The filters of the audit log, as query parameters."""

    username: Annotated[str | None, Query(max_length=254, description="Who did it.")] = None
    action: Annotated[
        str | None,
        Query(max_length=60, pattern=r"^[a-z_.]+$", description="An action, or a group of actions such as `share`."),
    ] = None
    ip_address: Annotated[str | None, Query(max_length=45)] = None
    since: UtcInput | None = None
    until: UtcInput | None = None

    def filter(self) -> AuditFilter:
        return AuditFilter(self.username, self.action, self.ip_address, self.since, self.until)


@audit_routes.add("GET", "/audit-log", access=Access.ADMIN, gives=Page[AuditEntry])
async def get_audit_log(
    caller: CallerDep, query: Annotated[AuditQuery, Depends()], limit: Limit = 50, cursor: CursorText = None
) -> Response:
    """List who did what, newest first."""
    cursors = caller.service(Cursors)
    entries = await caller.read(
        list_audit_log, query.filter(), after=_after(cursors.decode("audit-log", cursor)), limit=limit + 1
    )
    shown = entries[:limit]
    last = shown[-1] if len(entries) > limit else None
    next_cursor = cursors.encode("audit-log", [last["created_at"].isoformat(), last["id"]]) if last else None
    return json_response({"items": shown, "next_cursor": next_cursor})


@audit_routes.add("GET", "/audit-log/actions", access=Access.ADMIN, gives=AuditActions)
async def get_audit_actions(caller: CallerDep) -> Response:
    """List the actions that were ever recorded."""
    return json_response({"items": await caller.read(list_actions)})


@audit_routes.add("GET", "/audit-log/export", access=Access.ADMIN)
async def export_audit_log(
    caller: CallerDep,
    query: Annotated[AuditQuery, Depends()],
    format: Annotated[Literal["csv", "jsonl"], Query(description="CSV, or a JSON object in each line.")] = "csv",
) -> Response:
    """Download the entries, newest first. The download is recorded, too."""
    db, actor = caller.service(Database), await caller.actor()
    await db.write(note_export, actor)
    name = f"audit-log-{clock.now():%Y-%m-%d}.{format}"
    return StreamingResponse(
        _exported(db, actor, query.filter(), format),
        media_type="text/csv; charset=utf-8" if format == "csv" else "application/jsonl",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


async def _exported(db: Database, actor: Actor, wanted: AuditFilter, format: str) -> AsyncIterator[bytes]:
    """Yield the entries page by page: no transaction is open while the client reads."""
    after: After | None = None
    is_first = True
    while True:
        entries = await db.read(list_audit_log, actor, wanted, after=after, limit=EXPORT_PAGE)
        yield as_csv(entries, with_head=is_first) if format == "csv" else as_json_lines(entries)
        after, is_first = next_after(entries, EXPORT_PAGE), False
        if after is None:
            return


def _after(key: list[int | str] | None) -> After | None:
    return (datetime.fromisoformat(str(key[0])), str(key[1])) if key else None
