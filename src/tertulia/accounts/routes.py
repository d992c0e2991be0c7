"""First run, sign-in and sign-out, oneself, and the accounts of others for an administrator."""

from ipaddress import ip_network

from fastapi import Request
from sqlalchemy.orm import Session as DbSession
from starlette.responses import Response

from tertulia.accounts import service, sessions
from tertulia.accounts.actor import require_admin
from tertulia.accounts.caller import COOKIE, SECURE_COOKIE, CallerDep, CommandDep, Gate, is_over_tls, session_token
from tertulia.accounts.errors import AlreadySetUp, InsecureConnection, WrongCredentials
from tertulia.accounts.models import DeviceInfo
from tertulia.accounts.passwords import check_password, hash_password, password_matches
from tertulia.accounts.schemas import AccountCreate, MeUpdate, SetupRead, SignIn, UserCreate, UserRead
from tertulia.accounts.tokens import hash_token
from tertulia.http.answers import json_response, no_content
from tertulia.http.limits import TryLimit
from tertulia.http.middleware import LOOPBACK
from tertulia.http.paging import Cursors, CursorText, Limit, Page
from tertulia.http.routing import Access, Routes
from tertulia.ids import UserId


def account_routes(gate: Gate, cursors: Cursors) -> Routes:
    routes = Routes("accounts")
    by_account, by_address = TryLimit(5, 60), TryLimit(20, 60)
    setup_tries = TryLimit(5, 3600)

    @routes.add("GET", "/setup", access=Access.PUBLIC, gives=SetupRead)
    async def get_setup() -> Response:
        return json_response({"required": await gate.db.read(service.is_setup_required)})

    @routes.add("POST", "/setup", access=Access.PUBLIC, gives=UserRead, status=201, problems=(409, 429))
    async def post_setup(request: Request, account: AccountCreate) -> Response:
        secure = _is_secure(request)
        if not await gate.db.read(service.is_setup_required):
            raise AlreadySetUp
        check_password(account.password, names=(account.username, account.name, account.email or ""))
        setup_tries.take(request.scope["client_address"])
        password_hash = await hash_password(account.password)
        device = _device(request)

        def set_up(session: DbSession) -> tuple[UserRead, str]:
            user_id = service.create_first_admin(session, account, password_hash=password_hash)
            token = sessions.start_session(session, user_id, life=gate.life, device=device)
            return service.get_user(session, user_id), token

        user, token = await gate.db.write(set_up)
        return _with_cookie(json_response(user, 201), token, secure=secure, gate=gate)

    @routes.add("POST", "/session", access=Access.PUBLIC, gives=UserRead, status=201, problems=(401, 429))
    async def post_session(request: Request, sign_in: SignIn) -> Response:
        secure = _is_secure(request)
        by_address.take(_network(request.scope["client_address"]))
        found = await gate.db.read(sessions.find_credentials, sign_in.username)
        # An account has a user name and perhaps an address, and five tries for both together.
        by_account.take(found.user_id if found else service.name_key(sign_in.username))
        if not await password_matches(sign_in.password, found.password_hash if found else None) or found is None:
            await gate.db.write(
                service.write_audit, None, "session.refused", ip_address=request.scope["client_address"]
            )
            raise WrongCredentials
        brought = session_token(request)
        device = _device(request)

        def begin(session: DbSession, user_id: UserId) -> tuple[UserRead, str]:
            replaces = hash_token(brought) if brought else None
            token = sessions.start_session(session, user_id, life=gate.life, device=device, replaces=replaces)
            return service.get_user(session, user_id), token

        user, token = await gate.db.write(begin, found.user_id)
        return _with_cookie(json_response(user, 201), token, secure=secure, gate=gate)

    @routes.add("DELETE", "/session", access=Access.SIGNED_IN, status=204)
    async def delete_session(request: Request, caller: CallerDep) -> Response:
        await caller.actor()
        await gate.db.write(sessions.end_session, caller.token_hash)
        await request.app.state.streams.check_now()
        response = no_content()
        for name in (COOKIE, SECURE_COOKIE):
            response.delete_cookie(name, path="/", secure=name == SECURE_COOKIE, httponly=True, samesite="lax")
        return response

    @routes.add("GET", "/me", access=Access.SIGNED_IN, gives=UserRead)
    async def get_me(caller: CallerDep) -> Response:
        return json_response(await caller.read(lambda session, actor: service.get_me(session, actor=actor)))

    @routes.add("PATCH", "/me", access=Access.SIGNED_IN, gives=UserRead, problems=(409,))
    async def patch_me(caller: CommandDep, update: MeUpdate) -> Response:
        is_confirmed = False
        if update.password is not None:
            actor = await caller.actor()
            by_account.take(actor.user_id)
            stored = await gate.db.read(sessions.find_password_hash, actor.user_id)
            is_confirmed = await password_matches(update.password, stored)
        return await caller.command(
            200, lambda session, actor: service.update_me(session, update, is_confirmed=is_confirmed, actor=actor)
        )

    @routes.add("GET", "/users", access=Access.ADMIN, gives=Page[UserRead])
    async def get_users(caller: CallerDep, limit: Limit = 50, cursor: CursorText = None) -> Response:
        key = cursors.decode("users", cursor)
        users = await caller.read(
            lambda session, actor: service.list_users(
                session, after=str(key[0]) if key else None, limit=limit + 1, actor=actor
            )
        )
        more = len(users) > limit
        users = users[:limit]
        return json_response(
            {"items": users, "next_cursor": cursors.encode("users", [users[-1]["id"]]) if more else None}
        )

    @routes.add("POST", "/users", access=Access.ADMIN, gives=UserRead, status=201, problems=(409,))
    async def post_user(caller: CommandDep, account: UserCreate) -> Response:
        # Hashing is dear, so whoever may not create users does not get that far.
        require_admin(await caller.actor())
        check_password(account.password, names=(account.username, account.name, account.email or ""))
        password_hash = await hash_password(account.password)
        return await caller.command(
            201, lambda session, actor: service.create_user(session, account, password_hash=password_hash, actor=actor)
        )

    return routes


def _is_secure(request: Request) -> bool:
    """Whether the cookie must be Secure. Raises InsecureConnection where a browser would send it over the open wire."""
    if is_over_tls(request):
        return True
    host = request.headers.get("host", "")
    if host in LOOPBACK or host.rsplit(":", 1)[0] in LOOPBACK:
        return False
    raise InsecureConnection


def _with_cookie(response: Response, token: str, *, secure: bool, gate: Gate) -> Response:
    response.set_cookie(
        SECURE_COOKIE if secure else COOKIE,
        token,
        max_age=int(gate.life.absolute.total_seconds()),
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )
    return response


def _device(request: Request) -> DeviceInfo:
    return sessions.describe_device(request.headers.get("user-agent", ""), request.scope["client_address"] or None)


def _network(address: str) -> str:
    """An IPv6 household has a /64 to itself, so that is what counts as one address."""
    try:
        return str(ip_network((address, 64), strict=False)) if ":" in address else address
    except ValueError:
        return address
