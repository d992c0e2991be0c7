"""The caller of a route: their sign-in is looked up inside the very transaction that does their work.

So a check costs no trip of its own, and nothing can change between the check and the work.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from tertulia import clock
from tertulia.accounts.actor import OPERATOR_ID, Actor
from tertulia.accounts.idempotency import CallIdentity, identify_call, once
from tertulia.accounts.models import UserRole
from tertulia.accounts.sessions import SessionLife, find_actor
from tertulia.accounts.tokens import hash_token
from tertulia.db import Database
from tertulia.errors import Unauthenticated
from tertulia.http.answers import encode, encoded_response
from tertulia.keyring import KeyRing

T = TypeVar("T")
Work = Callable[[Session, Actor], T]
COOKIE = "tertulia_session"
SECURE_COOKIE = f"__Host-{COOKIE}"


@dataclass
class Gate:
    """What it takes to know a caller."""

    db: Database
    life: SessionLife
    keyring: KeyRing
    is_behind_tls: bool = False
    control_token_hash: bytes | None = None  # of the token that this machine's command line reads from the data folder
    seen: dict[str, datetime] = field(default_factory=dict)  # session id -> last use, written by a job

    def take_seen(self) -> dict[str, datetime]:
        taken, self.seen = self.seen, {}
        return taken

    def resolve(self, session: Session, token_hash: bytes) -> Actor:
        if self.control_token_hash is not None and hmac.compare_digest(token_hash, self.control_token_hash):
            return Actor(OPERATOR_ID, UserRole.ADMIN)
        actor = find_actor(session, token_hash, self.life)
        if actor is None:
            raise Unauthenticated("Your sign-in has ended. Sign in again; what you typed is kept.")
        return actor


@dataclass
class Caller:
    gate: Gate
    token_hash: bytes
    address: str
    call: CallIdentity | None = None

    async def actor(self) -> Actor:
        return self._saw(await self.gate.db.read_hot(self.gate.resolve, self.token_hash))

    async def read(self, work: Work[T]) -> T:
        """`work(session, actor)` in one reading transaction. What the API reads is served by an index, and is a page."""
        actor, result = await self.gate.db.read_hot(self._as_actor, work)
        self._saw(actor)
        return result

    async def command(self, status: int, work: Work[object]) -> Response:
        """`work(session, actor)` in one transaction, answered with what it returns, done once for each Idempotency-Key."""
        actor, answered, body = await self.gate.db.write(self._answer, work, status)
        self._saw(actor)
        return encoded_response(body, answered) if body else Response(status_code=answered)

    def _as_actor(self, session: Session, work: Work[T]) -> tuple[Actor, T]:
        actor = self.gate.resolve(session, self.token_hash)
        return actor, work(session, actor)

    def _answer(self, session: Session, work: Work[object], status: int) -> tuple[Actor, int, bytes]:
        actor = self.gate.resolve(session, self.token_hash)

        def answer() -> bytes:
            result = work(session, actor)
            return b"" if result is None else encode(result)

        if self.call is None or actor.user_id == OPERATOR_ID:
            return actor, status, answer()
        return actor, *once(session, self.call, answer, user_id=actor.user_id, status=status)

    def _saw(self, actor: Actor) -> Actor:
        if actor.session_id is not None:
            self.gate.seen[actor.session_id] = clock.now()
        return actor


def is_over_tls(request: Request) -> bool:
    gate: Gate = request.app.state.gate
    return gate.is_behind_tls or request.url.scheme == "https"


def session_token(request: Request) -> str | None:
    """The token of the cookie that belongs here: over TLS the bare name counts for nothing, as others can plant it."""
    return request.cookies.get(SECURE_COOKIE if is_over_tls(request) else COOKIE)


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


async def get_caller(request: Request) -> Caller:
    token = _bearer(request) or session_token(request)
    if not token:
        raise Unauthenticated
    return Caller(request.app.state.gate, hash_token(token), request.scope.get("client_address", ""))


async def get_command_caller(
    request: Request,
    caller: Annotated[Caller, Depends(get_caller)],
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            description="The same key and body give the first answer again for 24 hours.",
        ),
    ] = None,
) -> Caller:
    if idempotency_key is not None:
        caller.call = identify_call(
            idempotency_key, request.method, request.url.path, await request.body(), caller.gate.keyring
        )
    return caller


CallerDep = Annotated[Caller, Depends(get_caller)]
CommandDep = Annotated[Caller, Depends(get_command_caller)]
