"""API tokens: a user's credentials for the API, optionally with fewer permissions."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor, require_admin
from tertulia.accounts.audit import write_audit
from tertulia.accounts.confirmation import require_confirmed
from tertulia.accounts.errors import ApiTokenNotFound, TooManyTokens
from tertulia.accounts.events import API_TOKEN
from tertulia.accounts.models import ApiToken, Scope, User, UserStatus
from tertulia.accounts.schemas import ApiTokenCreate, ApiTokenCreated, ApiTokenRead
from tertulia.accounts.tokens import TOKEN_PREFIX, hash_token, new_api_token
from tertulia.db import Prepared
from tertulia.ids import ApiTokenId, new_id
from tertulia.realtime.models import Operation
from tertulia.realtime.publish import publish

MAX_TOKENS = 100
SHOWN = len(TOKEN_PREFIX) + 4
# The only check of an API token.
_VALID = (
    ApiToken.revoked_at.is_(None),
    ApiToken.expires_at.is_(None) | (ApiToken.expires_at > sa.bindparam("now", type_=ApiToken.expires_at.type)),
    User.status == UserStatus.ACTIVE,
)
_BY_TOKEN = Prepared(
    sa.select(ApiToken.user_id, User.role, ApiToken.id, ApiToken.scopes)
    .join(User, User.id == ApiToken.user_id)
    .where(ApiToken.token_hash == sa.bindparam("token_hash", type_=sa.LargeBinary()), *_VALID)
)


def find_token_actor(session: Session, token_hash: bytes) -> Actor | None:
    row = _BY_TOKEN.first(session, token_hash=token_hash, now=clock.now())
    if row is None:
        return None
    user_id, role, token_id, scopes = row
    return Actor(user_id, role, token_id=token_id, scopes=frozenset(scopes))


def list_valid_tokens(session: Session, token_ids: set[str]) -> set[str]:
    """Return which of these tokens are still valid. Open streams call this every few seconds."""
    query = (
        sa.select(ApiToken.id).join(User, User.id == ApiToken.user_id).where(ApiToken.id.in_(list(token_ids)), *_VALID)
    )
    return set(session.scalars(query, {"now": clock.now()}))


def create_api_token(session: Session, actor: Actor, new: ApiTokenCreate) -> ApiTokenCreated:
    """Create a token and return it. It is not stored. Raises ConfirmationNeeded, AdminOnly, TooManyTokens."""
    require_confirmed(session, actor)
    if Scope.ADMIN in new.scopes:
        require_admin(actor)
    session.execute(sa.select(User.id).where(User.id == actor.user_id).with_for_update())
    count = session.scalar(
        sa.select(sa.func.count()).where(ApiToken.user_id == actor.user_id, ApiToken.revoked_at.is_(None))
    )
    if (count or 0) >= MAX_TOKENS:
        raise TooManyTokens(MAX_TOKENS)
    token = new_api_token()
    row = ApiToken(
        id=new_id(),
        user_id=actor.user_id,
        name=new.name,
        token_hash=hash_token(token),
        prefix=token[:SHOWN],
        scopes=sorted(new.scopes),
        expires_at=new.expires_at,
    )
    session.add(row)
    session.flush()
    write_audit(session, actor.user_id, "api_token.create", entity="api_token", entity_id=row.id)
    listed = _announce(session, row, Operation.CREATED)
    return {
        "id": listed["id"],
        "name": listed["name"],
        "prefix": listed["prefix"],
        "scopes": listed["scopes"],
        "last_used_at": None,
        "expires_at": listed["expires_at"],
        "created_at": listed["created_at"],
        "token": token,
    }


def list_api_tokens(session: Session, actor: Actor, *, after: str | None = None, limit: int = 50) -> list[ApiTokenRead]:
    """List the tokens that are not revoked, oldest first."""
    query = (
        sa.select(ApiToken)
        .where(ApiToken.user_id == actor.user_id, ApiToken.revoked_at.is_(None))
        .order_by(ApiToken.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(ApiToken.id > after)
    return [read_api_token(row) for row in session.scalars(query)]


def revoke_api_token(session: Session, actor: Actor, token_id: ApiTokenId) -> None:
    """Revoke a token without asking for the password: removing access must be easy. Raises ApiTokenNotFound."""
    row = session.scalars(
        sa.select(ApiToken)
        .where(ApiToken.id == token_id, ApiToken.user_id == actor.user_id, ApiToken.revoked_at.is_(None))
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise ApiTokenNotFound
    row.revoked_at = clock.now()
    session.flush()
    write_audit(session, actor.user_id, "api_token.revoke", entity="api_token", entity_id=token_id)
    _announce(session, row, Operation.DELETED)


def touch_api_tokens(session: Session, seen: dict[str, datetime]) -> None:
    for token_id, moment in seen.items():
        session.execute(
            sa.update(ApiToken)
            .where(ApiToken.id == token_id)
            .values(last_used_at=moment, updated_at=ApiToken.updated_at)
        )


def read_api_token(row: ApiToken) -> ApiTokenRead:
    return {
        "id": row.id,
        "name": row.name,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "last_used_at": row.last_used_at,
        "expires_at": row.expires_at,
        "created_at": row.created_at,
    }


def _announce(session: Session, row: ApiToken, operation: Operation) -> ApiTokenRead:
    token = read_api_token(row)
    publish(
        session,
        owner_id=row.user_id,
        topic=f"user:{row.user_id}",
        entity=API_TOKEN,
        entity_id=row.id,
        operation=operation,
        payload=token,
    )
    return token
