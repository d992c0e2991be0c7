"""Test the functions of sessions at their limits: whose session, until when, and what a list shows."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session as DbSession

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.errors import SessionNotFound, WrongCredentials
from tertulia.accounts.models import AuditLog, DeviceInfo, Session, User, UserStatus
from tertulia.accounts.sessions import (
    REFUSED,
    SessionLifetime,
    count_failed_sign_ins,
    end_session,
    find_actor,
    find_credentials,
    list_sessions,
    list_valid_sessions,
    require_unchanged,
    revoke_session,
    start_session,
    sweep_sessions,
    touch_sessions,
)
from tertulia.accounts.tokens import hash_token
from tertulia.ids import SessionId
from tests.factories.accounts import make_user

LIFE = SessionLifetime(idle=timedelta(days=14), absolute=timedelta(days=90))
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
TICK = timedelta(microseconds=1)
DEVICE = DeviceInfo(user_agent="Agent", platform="Linux", browser="Firefox", ip_address="10.0.0.1")


@pytest.fixture(autouse=True)
def stopped_clock() -> Iterator[None]:
    with clock.frozen(NOW):
        yield


def begin(session: DbSession, user: Actor, device: DeviceInfo = DEVICE) -> tuple[str, SessionId]:
    """Start a session, and return its token and id."""
    token = start_session(session, user.user_id, life=LIFE, device=device)
    return token, SessionId(session.scalars(sa.select(Session.id).where(Session.token_hash == hash_token(token))).one())


def active(session: DbSession) -> set[str]:
    return set(session.scalars(sa.select(Session.id).where(Session.is_active)))


def change(session: DbSession, session_id: str, **values: object) -> None:
    session.execute(sa.update(Session).where(Session.id == session_id).values(**values))


@pytest.mark.parametrize("name", ["carol", "carol@example.com"])
def test_credentials_are_those_of_an_active_user(session: DbSession, name: str) -> None:
    carol = make_user(session, username="carol", email="carol@example.com", password_hash="hash")
    make_user(session, username="dora", password_hash="other")
    credentials = find_credentials(session, name)
    assert credentials is not None
    assert (credentials.user_id, credentials.password_hash) == (carol.user_id, "hash")
    require_unchanged(session, credentials)
    session.execute(sa.update(User).where(User.id == carol.user_id).values(status=UserStatus.INACTIVE))
    assert find_credentials(session, name) is None
    with pytest.raises(WrongCredentials):
        require_unchanged(session, credentials)


def test_a_password_that_changed_meanwhile_is_refused(session: DbSession) -> None:
    carol = make_user(session, username="carol", password_hash="hash")
    make_user(session, username="dora", password_hash="hash")
    credentials = find_credentials(session, "carol")
    assert credentials is not None
    session.execute(sa.update(User).where(User.id == carol.user_id).values(password_hash="new"))
    with pytest.raises(WrongCredentials):
        require_unchanged(session, credentials)


def test_only_the_users_own_session_can_be_ended(session: DbSession, alice: Actor, bob: Actor) -> None:
    (_, first), (_, second), (_, of_bob) = begin(session, alice), begin(session, alice), begin(session, bob)
    with pytest.raises(SessionNotFound):
        revoke_session(session, alice, of_bob)
    assert active(session) == {first, second, of_bob}
    revoke_session(session, alice, first)
    assert active(session) == {second, of_bob}
    with pytest.raises(SessionNotFound):
        revoke_session(session, alice, first)


def test_signing_out_ends_the_session_of_the_token_alone(session: DbSession, alice: Actor) -> None:
    (token, first), (_, second) = begin(session, alice), begin(session, alice)
    end_session(session, hash_token(token))
    assert active(session) == {second}
    assert session.scalar(sa.select(Session.ended_at).where(Session.id == first)) == NOW


def test_a_list_has_the_users_valid_sessions_from_the_newest(session: DbSession, alice: Actor, bob: Actor) -> None:
    ids = [begin(session, alice)[1] for _ in range(3)]
    begin(session, bob)
    me = Actor(alice.user_id, alice.role, ids[1])
    assert [(row["id"], row["is_current"]) for row in list_sessions(session, me, LIFE)] == [
        (ids[2], False),
        (ids[1], True),
        (ids[0], False),
    ]
    assert [row["id"] for row in list_sessions(session, me, LIFE, after=ids[2], limit=1)] == [ids[1]]
    assert [row["id"] for row in list_sessions(session, me, LIFE, after=ids[1])] == [ids[0]]
    change(session, ids[0], last_active_at=NOW - LIFE.idle)
    change(session, ids[2], expires_at=NOW)
    assert [row["id"] for row in list_sessions(session, me, LIFE)] == [ids[1]]


def test_a_list_shows_the_device_if_it_is_known(session: DbSession, alice: Actor) -> None:
    _, session_id = begin(session, alice)
    device = {"platform": "Linux", "browser": "Firefox", "user_agent": "Agent", "ip_address": "10.0.0.1"}
    (row,) = list_sessions(session, alice, LIFE)
    assert row | device == row
    change(session, session_id, device_info=None)
    session.expire_all()
    (row,) = list_sessions(session, alice, LIFE)
    assert row | dict.fromkeys(device) == row


@pytest.mark.parametrize(
    ("changes", "is_valid"),
    [
        ({}, True),
        ({"expires_at": NOW + TICK}, True),
        ({"expires_at": NOW}, False),
        ({"last_active_at": NOW - LIFE.idle + TICK}, True),
        ({"last_active_at": NOW - LIFE.idle}, False),
        ({"is_active": False}, False),
    ],
)
def test_a_session_is_valid_until_it_ends_expires_or_is_idle(
    session: DbSession, alice: Actor, changes: dict[str, object], is_valid: bool
) -> None:
    token, session_id = begin(session, alice)
    begin(session, alice)
    if changes:
        change(session, session_id, **changes)
    assert (find_actor(session, hash_token(token), LIFE) is not None) is is_valid
    assert list_valid_sessions(session, [session_id], LIFE) == ({session_id} if is_valid else set())
    sweep_sessions(session, LIFE)
    assert (session_id in active(session)) is is_valid


def test_a_session_of_an_inactive_user_is_not_valid(session: DbSession, alice: Actor) -> None:
    token, session_id = begin(session, alice)
    session.execute(sa.update(User).where(User.id == alice.user_id).values(status=UserStatus.INACTIVE))
    assert find_actor(session, hash_token(token), LIFE) is None
    assert list_valid_sessions(session, [session_id], LIFE) == set()


def test_a_sweep_counts_what_it_ends_and_deletes_what_expired_long_ago(session: DbSession, alice: Actor) -> None:
    kept, deleted, ended = (begin(session, alice)[1] for _ in range(3))
    change(session, kept, expires_at=NOW - LIFE.absolute, is_active=False)
    change(session, deleted, expires_at=NOW - LIFE.absolute - TICK)
    change(session, ended, expires_at=NOW)
    assert sweep_sessions(session, LIFE) == 1
    assert set(session.scalars(sa.select(Session.id))) == {kept, ended}
    assert sweep_sessions(session, LIFE) == 0


def test_a_visit_is_noted_for_its_session_and_user_alone(session: DbSession, alice: Actor, bob: Actor) -> None:
    (_, first), (_, second), (_, of_bob) = begin(session, alice), begin(session, alice), begin(session, bob)
    touch_sessions(session, {first: NOW + TICK})
    moments = {row.id: row.last_active_at for row in session.execute(sa.select(Session.id, Session.last_active_at))}
    assert moments == {first: NOW + TICK, second: NOW, of_bob: NOW}
    users = {row.id: row.last_active_at for row in session.execute(sa.select(User.id, User.last_active_at))}
    assert (users[alice.user_id], users[bob.user_id]) == (NOW + TICK, None)


def test_wrong_passwords_count_for_thirty_days_and_one_account(session: DbSession, alice: Actor, bob: Actor) -> None:
    assert count_failed_sign_ins(session, alice) == {"count": 0, "last_at": None, "last_address": None}
    month = timedelta(days=30)
    for user, action, age, address in (
        (alice, REFUSED, month - TICK, "10.0.0.1"),
        (alice, REFUSED, timedelta(1), "10.0.0.2"),
        (alice, REFUSED, month, "10.0.0.3"),
        (alice, "session.start", timedelta(0), "10.0.0.4"),
        (bob, REFUSED, timedelta(0), "10.0.0.5"),
    ):
        session.add(AuditLog(user_id=user.user_id, action=action, ip_address=address, created_at=NOW - age))
    session.flush()
    last = {"last_at": NOW - timedelta(1), "last_address": "10.0.0.2"}
    assert count_failed_sign_ins(session, alice) == {"count": 2, **last}
