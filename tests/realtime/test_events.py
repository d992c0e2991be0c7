"""Test the event stream: changes are delivered after the commit, once and in order, also after a reconnect."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.db.opening import plain_engine
from tertulia.ids import new_id
from tertulia.realtime.entities import Entity
from tertulia.realtime.models import Change, Operation
from tertulia.realtime.publish import publish
from tertulia.realtime.queries import Position, can_resume, list_changes, newest_position, prune_changes
from tertulia.settings import Settings
from tests.conftest import SignIn
from tests.fakes.live_server import Client, LiveServer
from tests.waiting import Listener


def test_a_change_event_contains_the_current_state(ana: Client) -> None:
    listener = Listener(ana)
    chat = ana.chat(title="Seen elsewhere")
    listener.wait_for(lambda: ("chat", "created") in listener.changes)
    # The stream may also deliver changes committed just before it opened, such as the sign-in.
    data = next(data for _, kind, data in listener.heard if kind == "change" and data["entity"] == "chat")
    assert (data["topic"], data["entity_id"]) == (f"user:{ana.user['id']}", chat["id"])
    assert data["payload"] == chat


def test_a_snapshot_plus_events_equals_a_fresh_snapshot(ana: Client) -> None:
    listener = Listener(ana)
    known = {chat["id"]: chat for chat in ana.api("GET", "/chats")["items"]}
    first = ana.chat(title="one")
    ana.say(first["id"], "hello", reply=False)
    second = ana.chat(title="two")
    ana.api("PATCH", f"/chats/{first['id']}", json={"title": "renamed"})
    ana.api("DELETE", f"/chats/{second['id']}", expect=204)
    listener.wait_for(lambda: listener.changes[-1:] == [("chat", "deleted")])
    for _, kind, data in listener.heard:
        if kind == "change" and data["entity"] == "chat":
            if data["operation"] == "deleted":
                known.pop(data["entity_id"])
            else:
                known[data["entity_id"]] = data["payload"]
    assert sorted(known.values(), key=lambda c: c["id"]) == sorted(
        ana.api("GET", "/chats")["items"], key=lambda c: c["id"]
    )


def test_a_resumed_stream_delivers_missed_changes_once_in_order(ana: Client) -> None:
    listener = Listener(ana)
    ana.chat(title="before")
    listener.wait_for(lambda: listener.changes)
    last_id = listener.heard[-1][0]
    titles = [f"while away {n}" for n in range(30)]
    for title in titles:
        ana.chat(title=title)
    returned = Listener(ana, last_event_id=last_id)
    ana.chat(title="after")
    returned.wait_for(lambda: len(returned.changes) >= 31)
    assert [d["payload"]["title"] for _, k, d in returned.heard if k == "change"] == [*titles, "after"]


@pytest.mark.parametrize("wrong", ["nonsense", "99999999-99999999", "1-2-3"])
def test_an_invalid_last_event_id_answers_with_reload(ana: Client, wrong: str) -> None:
    listener = Listener(ana, last_event_id=wrong)
    listener.wait_for(lambda: len(listener.heard) == 2)
    assert [kind for _, kind, _ in listener.heard] == ["ready", "reload"]


def test_a_user_receives_no_changes_of_other_users(ana: Client, sign_in: SignIn) -> None:
    bob = sign_in("bob")
    listener = Listener(bob)
    ana.chat()
    mine = bob.chat()
    listener.wait_for(lambda: listener.changes)
    assert [data["entity_id"] for _, kind, data in listener.heard if kind == "change"] == [mine["id"]]


def test_signing_out_closes_the_streams_of_that_session_only(ana: Client, sign_in: SignIn) -> None:
    other_device = sign_in("ana")
    leaving, staying = Listener(ana), Listener(other_device)
    ana.api("DELETE", "/session", expect=204)
    assert leaving.is_closed.wait(30)
    other_device.chat()
    staying.wait_for(lambda: staying.changes)


def test_the_eleventh_stream_of_a_user_is_refused(ana: Client) -> None:
    listeners = [Listener(ana) for _ in range(10)]
    refused = ana.get("/events")
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
    assert len(listeners) == 10


def test_stopping_the_server_closes_the_streams(ana: Client, server: LiveServer) -> None:
    listener = Listener(ana)
    server.stop()
    assert listener.is_closed.wait(30)


@pytest.mark.parametrize("engine_kind", ["postgresql"], indirect=True)  # SQLite has only one writer
def test_a_slow_transaction_is_not_skipped(settings: Settings, alice: Actor, session: Session) -> None:
    """Deliver both changes in order, although on PostgreSQL a lower number can become visible after a higher one."""
    session.commit()
    engine = plain_engine(settings)
    slow, quick, reader = Session(engine), Session(engine), Session(engine)
    before = newest_position(reader)
    reader.rollback()
    _publish(slow, alice, "slow")
    _publish(quick, alice, "quick")
    quick.commit()
    assert list_changes(reader, before) == []  # the newer change waits for the older transaction
    reader.rollback()
    slow.commit()
    both = list_changes(reader, before)
    assert [change.entity for change in both] == ["slow", "quick"]
    assert list_changes(reader, both[0].position) == both[1:]
    for opened_session in (slow, quick, reader):
        opened_session.close()
    engine.dispose()


def test_pruning_keeps_recent_changes_and_older_positions_cannot_resume(session: Session, alice: Actor) -> None:
    for number in range(5):
        _publish(session, alice, f"e{number}")
    session.commit()
    positions = [change.position for change in list_changes(session, Position(0, 0))]
    old = clock.now() - timedelta(days=8)
    session.execute(sa.update(Change).where(Change.seq <= positions[2].seq).values(created_at=old))
    session.commit()
    assert can_resume(session, positions[0])
    assert prune_changes(session, clock.now() - timedelta(days=7)) == 2
    session.commit()
    assert [can_resume(session, position) for position in positions] == [False, False, True, True, True]
    assert [change.entity for change in list_changes(session, positions[2])] == ["e3", "e4"]


def _publish(session: Session, actor: Actor, entity: str) -> None:
    publish(
        session,
        owner_id=actor.user_id,
        topic=f"user:{actor.user_id}",
        entity=Entity(entity),
        entity_id=new_id(),
        operation=Operation.UPDATED,
    )
