"""Test what counts as read by a run and as the person's own words, next to the same in another chat."""

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.chat.models import Chat, Message
from tertulia.ids import ChatId, RunId, new_id
from tertulia.runs.calls.sources import gather_sources, load_own_words
from tertulia.runs.lease import RunRef
from tertulia.runs.models import Run
from tertulia.tools.models import ToolStatus
from tertulia.tools.provenance import Source
from tests.factories.chats import add_message
from tests.factories.tool_calls import make_run, propose


def add_run(session: Session, chat_id: ChatId, reply: str, user: Actor) -> RunId:
    run_id = RunId(new_id())
    run = {"id": run_id, "chat_id": chat_id, "message_id": reply, "requested_by": user.user_id}
    session.add(Run(**run, provider="p", model_name="m"))
    session.flush()
    return run_id


def write(session: Session, run: RunRef, text: str, *, owner: Actor, is_reply: bool = False) -> str:
    return add_message(session, ChatId(run.chat_id), text, owner=owner, is_reply=is_reply)


def written_by(session: Session, message_id: str, user: Actor) -> None:
    session.execute(sa.update(Message).where(Message.id == message_id).values(user_id=user.user_id))


def person(name: str) -> Source:
    return {"kind": "person", "name": name}


def test_a_chat_of_ones_own_has_no_sources(session: Session, alice: Actor) -> None:
    run = make_run(session, alice)
    write(session, run, "Mine", owner=alice)
    assert gather_sources(session, run) == []


@pytest.mark.parametrize("status", list(ToolStatus))
def test_results_of_calls_that_ended_are_sources(session: Session, alice: Actor, status: ToolStatus) -> None:
    run = make_run(session, alice)
    page: Source = {"kind": "web", "name": "a.example"}
    propose(session, run, status=status, result_sources=[page])
    propose(session, make_run(session, alice), status=status, result_sources=[{"kind": "web", "name": "b.example"}])
    has_result = status in (ToolStatus.COMPLETED, ToolStatus.FAILED, ToolStatus.TIMEOUT)
    assert gather_sources(session, run) == ([page] if has_result else [])


def test_what_others_write_in_the_chat_is_a_source(session: Session, alice: Actor, bob: Actor) -> None:
    run, elsewhere = make_run(session, alice), make_run(session, alice)
    written_by(session, write(session, elsewhere, "Hello", owner=alice), bob)
    assert gather_sources(session, run) == []
    written_by(session, write(session, run, "Hello", owner=alice), bob)
    assert gather_sources(session, run) == [person("Bob")]


def test_a_reply_that_others_requested_is_a_source(session: Session, alice: Actor, bob: Actor) -> None:
    run, elsewhere = make_run(session, alice), make_run(session, alice)
    add_run(session, ChatId(elsewhere.chat_id), elsewhere.message_id, bob)
    assert gather_sources(session, run) == []
    add_run(session, ChatId(run.chat_id), run.message_id, bob)
    assert gather_sources(session, run) == [person("Bob")]


def test_the_owner_is_a_source_for_a_guest(session: Session, alice: Actor, bob: Actor) -> None:
    assert gather_sources(session, make_run(session, alice, bob)) == [person("Alice")]


def test_imported_messages_name_the_import_of_this_chat(session: Session, alice: Actor) -> None:
    run, elsewhere = make_run(session, alice), make_run(session, alice)
    for chat_id, origin in ((run.chat_id, "claude"), (elsewhere.chat_id, "chatgpt")):
        session.execute(sa.update(Chat).where(Chat.id == chat_id).values(import_source=origin, import_id="1"))
    message = write(session, elsewhere, "Imported", owner=alice)
    session.execute(sa.update(Message).where(Message.id == message).values(imported=True))
    assert gather_sources(session, run) == []
    message = write(session, run, "Imported", owner=alice)
    session.execute(sa.update(Message).where(Message.id == message).values(imported=True))
    assert gather_sources(session, run) == [{"kind": "import", "name": "claude"}]


def test_sources_stay_with_the_run_when_they_are_gone(session: Session, alice: Actor, bob: Actor) -> None:
    run, other = make_run(session, alice), make_run(session, alice)
    message = write(session, run, "Hello", owner=alice)
    written_by(session, message, bob)
    gather_sources(session, run)
    written_by(session, message, alice)
    assert gather_sources(session, run) == [person("Bob")]
    assert session.scalars(sa.select(Run.sources).where(Run.id == other.run_id)).one() == []


def test_own_words_are_what_the_person_wrote_in_this_chat(session: Session, alice: Actor, bob: Actor) -> None:
    run, elsewhere = make_run(session, alice), make_run(session, alice)
    write(session, elsewhere, "Ask elsewhere.example", owner=alice)
    written_by(session, write(session, run, "Ask bob.example", owner=alice), bob)
    reply = write(session, run, "Ask model.example", owner=alice, is_reply=True)
    written_by(session, reply, alice)
    imported = write(session, run, "Ask imported.example", owner=alice)
    session.execute(sa.update(Message).where(Message.id == imported).values(imported=True))
    write(session, run, "> Ask quoted.example\nAsk written.example", owner=alice)
    words = load_own_words(session, run.chat_id, alice.user_id)
    hosts = ("elsewhere", "bob", "model", "imported", "quoted", "written")
    assert [host for host in hosts if words.name_host(f"{host}.example")] == ["written"]
