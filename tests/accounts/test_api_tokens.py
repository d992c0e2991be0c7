"""Test API tokens: their limit, whose they are, and when they are valid."""

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts import api_tokens
from tertulia.accounts.actor import Actor
from tertulia.accounts.errors import ApiTokenNotFound, TooManyTokens, WrongCredentials
from tertulia.accounts.models import ApiToken, DeviceInfo, User, UserStatus
from tertulia.accounts.models import Session as SignedIn
from tertulia.accounts.schemas import ApiTokenCreate
from tertulia.accounts.sessions import (
    Credentials,
    SessionLifetime,
    require_unchanged,
    start_session,
    sweep_sessions,
)
from tertulia.accounts.tokens import hash_token
from tertulia.ids import ApiTokenId, new_id

DEVICE = DeviceInfo(user_agent="", platform="", browser="")
LIFE = SessionLifetime(timedelta(days=7), timedelta(days=30))


def create(session: Session, owner: Actor, **fields: object) -> str:
    """Create a token in a new session of its owner, and return it."""
    owner = replace(owner, session_id=begin(session, owner))
    new = ApiTokenCreate.model_validate({"name": "a"} | fields)
    return str(api_tokens.create_api_token(session, owner, new)["token"])


def fill(session: Session, owner: Actor, count: int, **values: object) -> None:
    """Insert tokens without creating them one by one."""
    for _ in range(count):
        row = {"user_id": owner.user_id, "name": "a", "token_hash": hash_token(new_id()), "prefix": "tt_"}
        session.add(ApiToken(**row, **values))
    session.flush()


def is_accepted(session: Session, token: str) -> bool:
    return api_tokens.find_token_actor(session, hash_token(token)) is not None


def listed(session: Session, owner: Actor) -> list[ApiTokenId]:
    return [ApiTokenId(token["id"]) for token in api_tokens.list_api_tokens(session, owner)]


def test_a_user_has_at_most_100_tokens(session: Session, alice: Actor, bob: Actor) -> None:
    fill(session, bob, api_tokens.MAX_TOKENS)
    fill(session, alice, 5, revoked_at=clock.now())
    fill(session, alice, api_tokens.MAX_TOKENS - 1)
    create(session, alice)
    with pytest.raises(TooManyTokens):
        create(session, alice)


def test_only_the_named_token_is_revoked_and_only_by_its_owner(session: Session, alice: Actor, bob: Actor) -> None:
    first, second, other = create(session, alice), create(session, alice), create(session, bob)
    (first_id, second_id), (other_id,) = listed(session, alice), listed(session, bob)
    api_tokens.revoke_api_token(session, alice, second_id)
    assert [is_accepted(session, token) for token in (first, second, other)] == [True, False, True]
    for token_id in (second_id, other_id):
        with pytest.raises(ApiTokenNotFound):
            api_tokens.revoke_api_token(session, alice, token_id)
    assert listed(session, alice) == [first_id]
    assert listed(session, bob) == [other_id]
    assert api_tokens.list_valid_tokens(session, {first_id, second_id, other_id}) == {first_id, other_id}


def test_a_list_goes_on_after_a_token_and_use_is_noted_alone(session: Session, alice: Actor) -> None:
    for _ in range(3):
        create(session, alice)
    first, second, third = listed(session, alice)
    assert [row["id"] for row in api_tokens.list_api_tokens(session, alice, after=first)] == [second, third]
    assert [row["id"] for row in api_tokens.list_api_tokens(session, alice, after=first, limit=1)] == [second]
    api_tokens.touch_api_tokens(session, {second: clock.now()})
    session.expire_all()
    used = [row["last_used_at"] is not None for row in api_tokens.list_api_tokens(session, alice)]
    assert used == [False, True, False]


@pytest.mark.parametrize("status", [UserStatus.INACTIVE, UserStatus.SUSPENDED])
def test_tokens_of_a_deactivated_user_are_not_valid(session: Session, alice: Actor, status: UserStatus) -> None:
    token = create(session, alice)
    (token_id,) = listed(session, alice)
    session.execute(sa.update(User).where(User.id == alice.user_id).values(status=status))
    assert not is_accepted(session, token)
    assert api_tokens.list_valid_tokens(session, {token_id}) == set()


def test_a_token_is_valid_until_it_expires(session: Session, alice: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    end = clock.now() + timedelta(days=1)
    token = create(session, alice, expires_at=end)
    (token_id,) = listed(session, alice)
    for moment, is_valid in ((end - timedelta(microseconds=1), True), (end, False)):
        monkeypatch.setattr(clock, "now", lambda moment=moment: moment)
        assert is_accepted(session, token) is is_valid
        assert (token_id in api_tokens.list_valid_tokens(session, {token_id})) is is_valid


def begin(session: Session, owner: Actor, **values: object) -> str:
    """Start a session, change it, and return its id."""
    token = start_session(session, owner.user_id, life=LIFE, device=DEVICE)
    session.execute(
        sa.update(SignedIn).where(SignedIn.token_hash == hash_token(token)).values(**values or {"id": SignedIn.id})
    )
    return str(session.scalar(sa.select(SignedIn.id).where(SignedIn.token_hash == hash_token(token))))


def test_a_sweep_ends_only_expired_and_idle_sessions(
    session: Session, alice: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now)
    moment = timedelta(microseconds=1)
    sessions = {
        "active": begin(session, alice),
        "not yet expired": begin(session, alice, expires_at=now + moment),
        "expired": begin(session, alice, expires_at=now),
        "not yet idle": begin(session, alice, last_active_at=now - LIFE.idle + moment),
        "idle": begin(session, alice, last_active_at=now - LIFE.idle),
        "expired long ago": begin(session, alice, expires_at=now - LIFE.absolute - moment),
        "ended": begin(session, alice, is_active=False, ended_at=now - moment),
    }
    assert sweep_sessions(session, LIFE) == 2
    rows = {row.id: row for row in session.scalars(sa.select(SignedIn))}
    names = {name for name, id_ in sessions.items() if id_ in rows and rows[id_].is_active}
    assert names == {"active", "not yet expired", "not yet idle"}
    assert sessions["expired long ago"] not in rows
    assert rows[sessions["expired"]].ended_at == now
    assert rows[sessions["ended"]].ended_at == now - moment


@pytest.mark.parametrize("change", [{"status": UserStatus.INACTIVE}, {"password_hash": "other"}])
def test_a_sign_in_is_refused_if_the_account_changed_while_the_password_was_compared(
    session: Session, alice: Actor, bob: Actor, change: dict[str, object]
) -> None:
    session.execute(sa.update(User).values(password_hash="compared"))
    compared = Credentials(alice.user_id, "compared")
    require_unchanged(session, compared)
    session.execute(sa.update(User).where(User.id == bob.user_id).values(**change))
    require_unchanged(session, compared)
    session.execute(sa.update(User).where(User.id == alice.user_id).values(**change))
    with pytest.raises(WrongCredentials):
        require_unchanged(session, compared)
