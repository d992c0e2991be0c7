"""Routes for the first account, sign-in and sign-out, and the user's own profile, devices and API tokens."""

from fastapi import Request
from sqlalchemy.orm import Session as DbSession
from starlette.responses import Response

from tertulia.accounts import api_tokens, deletion, service, sessions
from tertulia.accounts.actor import Actor, SignInNeeded
from tertulia.accounts.administration import change_password
from tertulia.accounts.audit import write_audit
from tertulia.accounts.caller import (
    COOKIE,
    SECURE_COOKIE,
    SIGN_IN_OF_ADDRESS,
    Authenticator,
    CallerDep,
    CommandDep,
    is_over_tls,
    session_token,
)
from tertulia.accounts.confirmation import confirm
from tertulia.accounts.errors import AlreadySetUp, InsecureConnection, WrongCredentials, WrongPassword
from tertulia.accounts.known_devices import (
    DEVICE_COOKIE,
    MAX_AGE_S,
    SECURE_DEVICE_COOKIE,
    find_known_device,
    new_device_cookie,
)
from tertulia.accounts.models import DeviceInfo
from tertulia.accounts.names import name_key
from tertulia.accounts.password_attempts import network_of
from tertulia.accounts.passwords import check_password, hash_password, password_matches
from tertulia.accounts.schemas import (
    AccountCreate,
    ApiTokenCreate,
    ApiTokenCreated,
    ApiTokenRead,
    Confirmation,
    FailedSignIns,
    MeUpdate,
    PasswordChange,
    SessionRead,
    SetupRead,
    SignIn,
    UserRead,
)
from tertulia.accounts.streams import OpenStreams
from tertulia.accounts.tokens import hash_token
from tertulia.http.limits import RateLimit, RateLimits
from tertulia.http.middleware import is_loopback
from tertulia.http.paging import Cursors, CursorText, Limit, Page
from tertulia.http.responses import json_response, no_content
from tertulia.http.routing import Access, Routes, service_of
from tertulia.ids import ApiTokenId, SessionId, UserId

routes = Routes("accounts")


SETUP_TRIES = RateLimit("setup", 5, 3600)


@routes.add("GET", "/setup", access=Access.PUBLIC, gives=SetupRead)
async def get_setup(request: Request) -> Response:
    return json_response({"required": await service_of(request, Authenticator).db.read(service.is_setup_required)})


@routes.add("POST", "/setup", access=Access.PUBLIC, gives=UserRead, status=201, problems=(409, 429))
async def post_setup(request: Request, account: AccountCreate) -> Response:
    authenticator = service_of(request, Authenticator)
    require_secure(request)
    if not await authenticator.db.read(service.is_setup_required):
        raise AlreadySetUp
    check_password(account.password, names=(account.username, account.name, account.email or ""))
    service_of(request, RateLimits).take(SETUP_TRIES, request.scope["client_address"])
    password_hash = await hash_password(account.password)
    device = device_of(request)

    def set_up(session: DbSession) -> tuple[UserRead, str]:
        user_id = service.create_first_admin(session, account, password_hash=password_hash)
        token = sessions.start_session(session, user_id, life=authenticator.life, device=device)
        return service.get_user(session, user_id), token

    user, token = await authenticator.db.write(set_up)
    return signed_in(request, user, token, status=201, authenticator=authenticator)


@routes.add("POST", "/session", access=Access.PUBLIC, gives=UserRead, status=201, problems=(401, 429))
async def post_session(request: Request, sign_in: SignIn) -> Response:
    limits = service_of(request, RateLimits)
    authenticator = service_of(request, Authenticator)
    require_secure(request)
    credentials = await authenticator.db.read(sessions.find_credentials, sign_in.username)
    # An account has a user name and perhaps an address, and the same attempts for both together.
    account = credentials.user_id if credentials else name_key(sign_in.username)
    device_id = find_known_device(_device_cookie(request), authenticator.keyring, account)
    source = device_id or network_of(request.scope["client_address"])
    if device_id is None:  # others behind the same address must not keep a known device out
        limits.take(SIGN_IN_OF_ADDRESS, source)
    authenticator.password_attempts.take(account, source)
    if (
        not await password_matches(sign_in.password, credentials.password_hash if credentials else None)
        or credentials is None
    ):
        await authenticator.db.write(
            write_audit,
            credentials.user_id if credentials else None,
            sessions.REFUSED,
            ip_address=request.scope["client_address"],
        )
        raise WrongCredentials
    authenticator.password_attempts.succeed(account, source)
    old_token = session_token(request)
    device = device_of(request)

    def begin(session: DbSession, user_id: UserId) -> tuple[UserRead, str]:
        # Comparing took a while: a password that was changed, or an account that was closed meanwhile, counts now.
        sessions.require_unchanged(session, credentials)
        replaces = hash_token(old_token) if old_token else None
        token = sessions.start_session(session, user_id, life=authenticator.life, device=device, replaces=replaces)
        return service.get_user(session, user_id), token

    user, token = await authenticator.db.write(begin, credentials.user_id)
    return signed_in(request, user, token, status=201, authenticator=authenticator)


@routes.add("DELETE", "/session", access=Access.SIGNED_IN, status=204)
async def delete_session(request: Request, caller: CallerDep) -> Response:
    await caller.actor()
    await caller.service(Authenticator).db.write(sessions.end_session, caller.token_hash)
    await service_of(request, OpenStreams).check_now()
    response = no_content()
    for name in (COOKIE, SECURE_COOKIE):
        response.delete_cookie(name, path="/", secure=name == SECURE_COOKIE, httponly=True, samesite="lax")
    return response


@routes.add("GET", "/me", access=Access.SIGNED_IN, gives=UserRead)
async def get_me(caller: CallerDep) -> Response:
    return json_response(await caller.read(service.get_me))


@routes.add("PATCH", "/me", access=Access.SIGNED_IN, gives=UserRead, problems=(409,))
async def patch_me(caller: CommandDep, update: MeUpdate) -> Response:
    return await caller.command(200, service.update_me, update)


@routes.add("DELETE", "/me", access=Access.SIGNED_IN, gives=UserRead, status=200, problems=(409, 429))
async def delete_me(caller: CallerDep, confirmation: Confirmation | None = None) -> Response:
    """Delete your account in seven days, unless you undo it. Needs the password, or one entered just now."""
    actor = await caller.actor()
    if actor.session_id is None:
        raise SignInNeeded
    db = caller.service(Authenticator).db
    if confirmation is not None:
        await _compare(caller.service(Authenticator), actor, confirmation.password)
        await db.write(confirm, actor)
    check = caller.service(deletion.DeletionCheck)
    return json_response(await db.write(deletion.request_deletion, actor, check))


@routes.add("POST", "/me/restore", access=Access.SIGNED_IN, gives=UserRead)
async def post_restore(caller: CommandDep) -> Response:
    """Keep your account after all."""
    return await caller.command(200, deletion.cancel_deletion)


@routes.add("POST", "/session/confirm", access=Access.SIGNED_IN, status=204, problems=(429,))
async def post_confirmation(caller: CallerDep, confirmation: Confirmation) -> Response:
    authenticator = caller.service(Authenticator)
    actor = await caller.actor()
    if actor.session_id is None:
        raise SignInNeeded
    await _compare(authenticator, actor, confirmation.password)
    await authenticator.db.write(confirm, actor)
    return no_content()


@routes.add("PUT", "/me/password", access=Access.SIGNED_IN, gives=UserRead, problems=(429,))
async def put_password(request: Request, caller: CallerDep, change: PasswordChange) -> Response:
    authenticator = caller.service(Authenticator)
    require_secure(request)
    actor = await caller.actor()
    if actor.session_id is None:
        raise SignInNeeded
    old_hash = await _compare(authenticator, actor, change.password)
    me = await authenticator.db.read(service.get_me, actor)
    check_password(change.new_password, names=(me["username"], me["name"], me["email"] or ""), field="new_password")
    new_hash = await hash_password(change.new_password)
    device = device_of(request)
    user, token = await authenticator.db.write(
        change_password, actor, old_hash=old_hash, new_hash=new_hash, life=authenticator.life, device=device
    )
    await service_of(request, OpenStreams).check_now()
    return signed_in(request, user, token, status=200, authenticator=authenticator)


@routes.add("GET", "/me/failed-sign-ins", access=Access.SIGNED_IN, gives=FailedSignIns)
async def get_failed_sign_ins(caller: CallerDep) -> Response:
    """Return how often a wrong password was entered for your account in the last 30 days."""
    return json_response(await caller.read(sessions.count_failed_sign_ins))


@routes.add("GET", "/sessions", access=Access.SIGNED_IN, gives=Page[SessionRead])
async def get_sessions(caller: CallerDep, limit: Limit = 50, cursor: CursorText = None) -> Response:
    cursors = caller.service(Cursors)
    after = cursors.decode_id("sessions", cursor)
    devices = await caller.read(
        sessions.list_sessions, caller.service(Authenticator).life, after=after, limit=limit + 1
    )
    return json_response(cursors.page("sessions", devices, limit))


@routes.add("DELETE", "/sessions/{session_id}", access=Access.SIGNED_IN, status=204, problems=(404,))
async def delete_device(request: Request, caller: CommandDep, session_id: SessionId) -> Response:
    ended = await caller.command(204, sessions.revoke_session, session_id)
    await service_of(request, OpenStreams).check_now()
    return ended


@routes.add("GET", "/api-tokens", access=Access.SIGNED_IN, gives=Page[ApiTokenRead])
async def get_api_tokens(caller: CallerDep, limit: Limit = 50, cursor: CursorText = None) -> Response:
    cursors = caller.service(Cursors)
    after = cursors.decode_id("api-tokens", cursor)
    tokens = await caller.read(api_tokens.list_api_tokens, after=after, limit=limit + 1)
    return json_response(cursors.page("api-tokens", tokens, limit))


@routes.add("POST", "/api-tokens", access=Access.SIGNED_IN, gives=ApiTokenCreated, status=201, problems=(409,))
async def post_api_token(caller: CommandDep, new: ApiTokenCreate) -> Response:
    return await caller.command_with_secret(201, "token", api_tokens.create_api_token, new)


@routes.add("DELETE", "/api-tokens/{token_id}", access=Access.SIGNED_IN, status=204, problems=(404,))
async def delete_api_token(request: Request, caller: CommandDep, token_id: ApiTokenId) -> Response:
    revoked = await caller.command(204, api_tokens.revoke_api_token, token_id)
    await service_of(request, OpenStreams).check_now()
    return revoked


async def _compare(authenticator: Authenticator, actor: Actor, password: str) -> str | None:
    """Verify the actor's password and return its stored hash. Raises WrongPassword, TooManyAttempts."""
    source = f"signed in {actor.session_id}"  # a stolen session must not keep the others out
    authenticator.password_attempts.take(actor.user_id, source)
    stored = await authenticator.db.read(sessions.find_password_hash, actor.user_id)
    if not await password_matches(password, stored):
        raise WrongPassword
    authenticator.password_attempts.succeed(actor.user_id, source)
    return stored


def require_secure(request: Request) -> None:
    """Raise InsecureConnection if the cookie would be sent unencrypted to another machine."""
    if not (is_over_tls(request) or is_loopback(request.headers.get("host", ""))):
        raise InsecureConnection


def signed_in(request: Request, user: UserRead, token: str, *, status: int, authenticator: Authenticator) -> Response:
    """Answer with the user, the cookie of the session, and the cookie that recognises the device next time."""
    secure = is_over_tls(request)
    response = json_response(user, status)
    name, lifetime_s = (SECURE_COOKIE if secure else COOKIE), int(authenticator.life.absolute.total_seconds())
    _set_cookie(response, name, token, max_age_s=lifetime_s, secure=secure)
    if find_known_device(_device_cookie(request), authenticator.keyring, user["id"]) is None:
        value = new_device_cookie(authenticator.keyring, user["id"])
        name = SECURE_DEVICE_COOKIE if secure else DEVICE_COOKIE
        _set_cookie(response, name, value, max_age_s=MAX_AGE_S, secure=secure)
    return response


def _set_cookie(response: Response, name: str, value: str, *, max_age_s: int, secure: bool) -> None:
    response.set_cookie(name, value, max_age=max_age_s, path="/", secure=secure, httponly=True, samesite="lax")


def _device_cookie(request: Request) -> str:
    return request.cookies.get(SECURE_DEVICE_COOKIE if is_over_tls(request) else DEVICE_COOKIE, "")


def device_of(request: Request) -> DeviceInfo:
    """Return what a session says about the device that a request comes from."""
    return sessions.describe_device(request.headers.get("user-agent", ""), request.scope["client_address"] or None)
