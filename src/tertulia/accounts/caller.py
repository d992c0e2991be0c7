"""The caller of a route. Their credential is checked in the same transaction that does the work.

So the check costs no extra round trip, and nothing can change between the check and the work.
"""

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar

from fastapi import Depends, Header, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia import clock
from tertulia.accounts.actor import OPERATOR_ID, Actor, require_scope
from tertulia.accounts.api_tokens import find_token_actor
from tertulia.accounts.idempotency import Answer, CallIdentity, find_answer, identify_call, run_once
from tertulia.accounts.models import Scope, UserRole
from tertulia.accounts.password_attempts import PasswordAttempts
from tertulia.accounts.sessions import SessionLifetime, find_actor
from tertulia.accounts.tokens import hash_token
from tertulia.db import Database
from tertulia.errors import Unauthenticated
from tertulia.http.body import SignInCheck
from tertulia.http.limits import RateLimit, RateLimits
from tertulia.http.middleware import SAFE_METHODS
from tertulia.http.responses import encode, encoded_response
from tertulia.http.routing import service_of
from tertulia.keyring import KeyRing
from tertulia.services import Services

T = TypeVar("T")
Args = tuple[Any, ...]
Kwargs = dict[str, Any]
P = ParamSpec("P")
SIGN_IN_OF_ADDRESS = RateLimit("sign-in of an address", 20, 60)
COOKIE = "tertulia_session"
SECURE_COOKIE = f"__Host-{COOKIE}"


class ControlToken(str):
    """The secret that the command line of the same machine signs in with."""


RECENT_S = 60.0
MAX_RECENT = 10_000


@dataclass
class Authenticator(SignInCheck):
    """Finds the actor of a credential, and limits password tries and calls."""

    db: Database
    life: SessionLifetime
    keyring: KeyRing
    limits: RateLimits
    is_behind_tls: bool = False
    control_token_hash: bytes | None = None  # of the command line's token, which is in the data folder
    calls_per_minute: int = 0  # per API token; 0: no limit
    # When each session or API token was last used, by id. Written in the background, because reads must not write.
    seen: dict[str, datetime] = field(default_factory=dict)
    tokens_last_used: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.password_attempts = PasswordAttempts()
        # A program that loops must not slow down the server for others.
        self._token_calls = RateLimit("API token", self.calls_per_minute, 60)
        # When a token hash was last valid. Used only to decide whether a body is worth receiving, never to do work.
        self._recently_valid: dict[bytes, float] = {}

    def drain_session_uses(self) -> dict[str, datetime]:
        taken, self.seen = self.seen, {}
        return taken

    def drain_token_uses(self) -> dict[str, datetime]:
        taken, self.tokens_last_used = self.tokens_last_used, {}
        return taken

    def resolve(self, session: Session, credential: "Credential") -> Actor:
        """Return the actor. Raises Unauthenticated, or ScopeMissing if a token lacks the scope for this call."""
        token_hash = credential.token_hash
        if self.control_token_hash is not None and hmac.compare_digest(token_hash, self.control_token_hash):
            return Actor(OPERATOR_ID, UserRole.ADMIN)
        actor = (
            find_token_actor(session, token_hash)
            if credential.is_api_token
            else find_actor(session, token_hash, self.life)
        )
        if actor is None:
            raise Unauthenticated(
                "This API token is unknown, has expired or was revoked. Create another one."
                if credential.is_api_token
                else "Your session has ended. Sign in again. What you typed is kept."
            )
        require_scope(actor, credential.needs)
        if len(self._recently_valid) >= MAX_RECENT:
            self._recently_valid.clear()
        self._recently_valid[token_hash] = time.monotonic()
        return actor

    async def require_sign_in(self, request: Request) -> None:
        """Raise Unauthenticated or ScopeMissing, before a body is received. The work checks again in its transaction."""
        credential = _credential(request)
        known_at = self._recently_valid.get(credential.token_hash)
        if known_at is None or time.monotonic() - known_at > RECENT_S:
            await self.db.read_hot(self.resolve, credential)

    def count_call(self, actor: Actor) -> None:
        """Count a call of an API token. Raises TooManyAttempts if it calls more often than the operator allows."""
        if actor.token_id is not None and self.calls_per_minute:
            self.limits.take(self._token_calls, actor.token_id)


@dataclass(frozen=True, slots=True)
class Credential:
    """The credential of a call, and the scope that its method needs."""

    token_hash: bytes
    is_api_token: bool = False
    needs: Scope = Scope.READ


@dataclass(frozen=True, slots=True)
class StatusOverride:
    """The result of a command whose answer has another status than usual."""

    status: int
    body: object


@dataclass
class Caller:
    """Who makes a request. `read` and `command` check the sign-in in the transaction that does the work."""

    services: Services
    authenticator: Authenticator
    credential: Credential
    address: str
    call: CallIdentity | None = None
    is_counted: bool = False

    @property
    def token_hash(self) -> bytes:
        return self.credential.token_hash

    def service(self, kind: type[T]) -> T:
        """Return a service of the app."""
        return self.services.get(kind)

    def find_service(self, kind: type[T]) -> T | None:
        """Return a service of the app, or None if it is turned off."""
        return self.services.find(kind)

    async def actor(self) -> Actor:
        return self._record_use(await self.authenticator.db.read_hot(self._known))

    async def read(self, work: Callable[Concatenate[Session, Actor, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `work(session, actor, …)`, run in a read transaction. For reads that an index serves, such as a page."""
        actor, result = await self.authenticator.db.read_hot(self._as_actor, work, args, kwargs)
        self._record_use(actor)
        return result

    async def read_long(
        self, work: Callable[Concatenate[Session, Actor, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return as `read` does, for work that sums many rows. On SQLite it runs in a reader's thread, so that nothing waits for it."""
        actor, result = await self.authenticator.db.read(self._as_actor, work, args, kwargs)
        self._record_use(actor)
        return result

    async def command(
        self, status: int, work: Callable[Concatenate[Session, Actor, P], object], *args: P.args, **kwargs: P.kwargs
    ) -> Response:
        """Run `work(session, actor, …)` in a write transaction and answer with its result, once for each Idempotency-Key."""
        return await self._command(status, None, work, args, kwargs)

    async def command_with_secret(
        self,
        status: int,
        secret: str,
        work: Callable[Concatenate[Session, Actor, P], object],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Response:
        """Answer as `command` does. The field `secret` of the answer is sent once, and is null when the call is repeated."""
        return await self._command(status, secret, work, args, kwargs)

    async def find_stored_answer(self) -> Response | None:
        """Return the answer to an earlier call with this Idempotency-Key. For work that takes minutes before `command`."""
        if self.call is None:
            return None
        answer = await self.read(find_answer, self.call)
        return encoded_response(answer[1], answer[0]) if answer is not None else None

    async def _command(
        self, status: int, secret: str | None, work: Callable[..., object], args: Args, kwargs: Kwargs
    ) -> Response:
        actor, answered, body = await self.authenticator.db.write(self._answer, status, secret, work, args, kwargs)
        self._record_use(actor)
        return encoded_response(body, answered) if body else Response(status_code=answered)

    def _known(self, session: Session) -> Actor:
        """Return the caller. A call counts once, however often a unit of work is run. Raises TooManyAttempts."""
        actor = self.authenticator.resolve(session, self.credential)
        if not self.is_counted:
            self.is_counted = True
            self.authenticator.count_call(actor)
        return actor

    def _as_actor(self, session: Session, work: Callable[..., T], args: Args, kwargs: Kwargs) -> tuple[Actor, T]:
        actor = self._known(session)
        return actor, work(session, actor, *args, **kwargs)

    def _answer(
        self,
        session: Session,
        status: int,
        secret: str | None,
        work: Callable[..., object],
        args: Args,
        kwargs: Kwargs,
    ) -> tuple[Actor, int, bytes]:
        actor = self._known(session)

        def answer() -> Answer:
            result = work(session, actor, *args, **kwargs)
            answered = status
            if isinstance(result, StatusOverride):
                answered, result = result.status, result.body
            body = b"" if result is None else encode(result)
            if secret is None:
                return Answer(body, body, answered)
            assert isinstance(result, dict)
            return Answer(body, encode(result | {secret: None, "code": "already_shown"}), answered)

        if self.call is None or actor.is_operator:
            answered = answer()
            return actor, answered.status, answered.body
        return actor, *run_once(session, actor, self.call, answer)

    def _record_use(self, actor: Actor) -> Actor:
        if actor.session_id is not None:
            self.authenticator.seen[actor.session_id] = clock.now()
        elif actor.token_id is not None:
            self.authenticator.tokens_last_used[actor.token_id] = clock.now()
        return actor


def is_over_tls(request: Request) -> bool:
    return service_of(request, Authenticator).is_behind_tls or request.url.scheme == "https"


def session_token(request: Request) -> str | None:
    """Return the token of the session cookie. Over TLS the plain name is ignored, because other hosts can set it."""
    return request.cookies.get(SECURE_COOKIE if is_over_tls(request) else COOKIE)


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _credential(request: Request) -> Credential:
    """Return the credential: an API token in the Authorization header, or a session token in the cookie.

    Each kind of token is accepted only in its own place. Raises Unauthenticated.
    """
    needs = Scope.READ if request.method in SAFE_METHODS else Scope.WRITE
    bearer = _bearer(request)
    if bearer is not None:
        return Credential(hash_token(bearer), is_api_token=True, needs=needs)
    token = session_token(request)
    if not token:
        raise Unauthenticated
    return Credential(hash_token(token), needs=needs)


async def get_caller(request: Request) -> Caller:
    credential = _credential(request)
    services: Services = request.app.state.services
    return Caller(services, services.get(Authenticator), credential, request.scope.get("client_address", ""))


async def find_visitor(request: Request) -> Actor | None:
    """Return the actor where anyone may read, or None for a visitor without a sign-in or with one that has ended.

    Raises Unauthenticated for an API token that is not valid: a program should learn that.
    """
    if _bearer(request) is None and not session_token(request):
        return None
    caller = await get_caller(request)
    try:
        return await caller.actor()
    except Unauthenticated:
        if caller.credential.is_api_token:
            raise
        return None


async def get_command_caller(
    request: Request,
    caller: Annotated[Caller, Depends(get_caller)],
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            description="A call with the same key and body returns the first answer again for 24 hours.",
        ),
    ] = None,
) -> Caller:
    if idempotency_key is not None:
        caller.call = identify_call(
            idempotency_key, request.method, request.url.path, await request.body(), caller.authenticator.keyring
        )
    return caller


CallerDep = Annotated[Caller, Depends(get_caller)]
CommandDep = Annotated[Caller, Depends(get_command_caller)]
