"""Tests that hot queries use an index on both engines, so that their cost follows the rows they return."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.actor import Actor
from tertulia.accounts.api_tokens import _BY_TOKEN as TOKEN_ACTOR
from tertulia.accounts.models import User, UserRole
from tertulia.accounts.sessions import _BY_TOKEN
from tertulia.accounts.sharing import Shareables
from tertulia.billing import ledger, limits, sums
from tertulia.billing.sums import Period
from tertulia.billing.tool_ledger import spent_on_tools
from tertulia.billing.usage import GroupBy, UsageQuery, grouped
from tertulia.chat import shared_chats as chat_shares
from tertulia.chat.file_uses import MessageFileUses
from tertulia.chat.indexing import index_files
from tertulia.chat.models import Message
from tertulia.chat.queries import (
    BRANCH_PAGE,
    BRANCH_TEXTS,
    CHAT_BY_ID,
    CHAT_LISTS,
    LOCK_CHAT,
    ONE_CHAT,
    ONE_MESSAGE,
    TAGGED_CHATS,
)
from tertulia.chat.service import list_messages, list_shared_chats
from tertulia.context.calls import turns_of_messages
from tertulia.context.compaction.plan import ACTIVE
from tertulia.drafts import shared_drafts as draft_shares
from tertulia.files.models import Attachment, Blob, BlobContent, MessageAttachment
from tertulia.files.processing import take_file
from tertulia.files.service import list_attachments
from tertulia.ids import ChatId, MessageId, new_id
from tertulia.projects import unread
from tertulia.projects.models import Channel, Project, ProjectStatus
from tertulia.providers.model_catalogue import _OWN as OWN_PROVIDERS
from tertulia.runs.calls.approvals import (
    has_expired,
    list_of_chat,
    list_of_message,
    list_own,
    sum_by_tool,
)
from tertulia.runs.calls.life import list_approved
from tertulia.runs.models import Run
from tertulia.search.meaning.nearest import Meanings, code_of
from tertulia.search.meaning.passages import EmbeddedPassage, newest_document, next_unembedded, store_passages
from tertulia.search.service import Meaning, SearchFilters, search
from tertulia.tools.models import ToolExecution, ToolStatus
from tests.factories.accounts import make_user
from tests.factories.chats import make_chat
from tests.factories.ledger import enter_usage
from tests.factories.projects import make_project

NOW = clock.now()
ID = new_id()
HOT: dict[str, tuple[Any, dict[str, Any]]] = {
    "session by token": (_BY_TOKEN, {"token_hash": b"x" * 32, "now": NOW, "idle_since": NOW}),
    "recent chats": (CHAT_LISTS["active", False], {"actor_id": ID, "limit": 50}),
    "more chats": (CHAT_LISTS["active", True], {"actor_id": ID, "limit": 50, "moment": NOW, "last_id": ID}),
    "archived chats": (
        CHAT_LISTS["archived", True],
        {"actor_id": ID, "limit": 50, "moment": NOW, "last_id": ID},
    ),
    "pinned chats": (CHAT_LISTS["pinned", False], {"actor_id": ID, "limit": 50}),
    "trash": (CHAT_LISTS["trash", False], {"actor_id": ID, "limit": 50}),
    "chats with a tag": (TAGGED_CHATS[False], {"actor_id": ID, "limit": 50, "tag_id": ID}),
    "one chat": (ONE_CHAT, {"chat_id": ID, "actor_id": ID}),
    "chat by id": (CHAT_BY_ID, {"chat_id": ID}),
    "chat to write to": (LOCK_CHAT, {"chat_id": ID, "actor_id": ID}),
    "page of a branch": (BRANCH_PAGE, {"chat_id": ID, "leaf": ID, "links": 49}),
    "active compactions of a chat": (ACTIVE, {"chat_id": ID}),
    "texts of a branch": (BRANCH_TEXTS, {"chat_id": ID, "leaf": ID, "links": 49}),
    "one message": (ONE_MESSAGE, {"message_id": ID}),
    "API token": (TOKEN_ACTOR, {"token_hash": b"x" * 32, "now": NOW}),
    "providers of a user": (OWN_PROVIDERS, {"owner": ID}),
    "quotas that apply": (
        limits.APPLICABLE,
        {"user": ID, "now": NOW, "chat": ID, "token": ID},
    ),
    "reservation of a run": (ledger.RESERVATION_OF_RUN, {"the_run": ID}),
    **{
        f"spent of a {scope} in two windows, and reserved": (
            sums.spent_in_windows(scope, 2),
            {"scope": scope, "scope_id": ID, "far": NOW}
            | {f"{bound}_{window}": NOW for bound in ("since", "day") for window in (0, 1)},
        )
        for scope in sums.OF_LEDGER
    },
    **{
        f"spent of a {scope} by the ledger": (prepared, {"scope_id": ID, "since": NOW, "until": NOW})
        for scope, prepared in sums.OF_LEDGER.items()
    },
}


@pytest.fixture
def filled(session: Session, alice: Actor) -> Session:
    """Fill the database with enough rows that a plan without an index is more expensive."""
    for number in range(40):
        make_project(session, make_user(session, username=f"user{number}"))
        make_chat(session, owner=alice, messages=20)
    session.commit()
    session.execute(sa.text("ANALYZE"))
    session.commit()
    if session.get_bind().dialect.name == "postgresql":
        # With few rows a scan is cheap. The test asks only whether an index can serve the query.
        session.execute(sa.text("SET enable_seqscan = off"))
    return session


def test_no_hot_query_scans_or_sorts_a_table(filled: Session) -> None:
    wrong = {}
    for name, (prepared, values) in HOT.items():
        plan = _plan(filled, prepared.statement, values)
        # The index of the default plan has one row, that of open reservations one for each request that runs.
        small = r"branch\b|CONSTANT|plan USING INDEX ix_plan_default|usage_log USING INDEX ix_usage_log_reserved"
        scans = re.search(rf"\bSCAN (?!{small})\w+", plan) or "Seq Scan on" in plan
        # A page of a branch and the list of a user's providers are short, so sorting them is cheap.
        sorts = "TEMP B-TREE FOR ORDER BY" in plan and "branch" not in plan and "provider_config" not in plan
        if scans or sorts:
            wrong[name] = plan
    assert wrong == {}


@pytest.mark.parametrize("condition", ["one", "project", "all"])
def test_what_is_unread_in_channels_is_read_from_indexes(filled: Session, alice: Actor, condition: str) -> None:
    conditions = {
        "one": Channel.id == ID,
        "project": Channel.project_id == ID,
        "all": Project.status == ProjectStatus.ACTIVE,
    }
    plan = _plan(filled, unread.READ.where(conditions[condition]), {"actor_id": alice.user_id})
    tables = r"(open_)?(message|mention|membership|channel|channel_member|chat|project)(_\d+)?"
    assert re.search(rf"\bSCAN {tables}\b(?! USING)|Seq Scan on", plan) is None, plan


@pytest.mark.parametrize("by", [["day", "provider", "model"], ["chat"], ["token"], ["tool"]])
def test_usage_is_summed_from_its_index(filled: Session, alice: Actor, by: list[GroupBy]) -> None:
    """Sum the usage of one user among that of many others."""
    others = filled.scalars(sa.select(User.id)).all()
    filled.info.clear()  # a prepared statement belongs to one transaction
    for number in range(600):
        user_id = others[number % len(others)]
        enter_usage(filled, user_id, moment=NOW - timedelta(hours=number), chat_id=None)
    filled.commit()
    filled.execute(sa.text("ANALYZE"))
    for statement in grouped(alice, UsageQuery(NOW, NOW, by), Period(NOW - timedelta(days=9), NOW)):
        _reads_a_range(_plan(filled, statement, {}))


@pytest.mark.parametrize("by", [["day"], ["model"], ["user"]])
def test_the_usage_of_everybody_is_summed_from_its_index(filled: Session, alice: Actor, by: list[GroupBy]) -> None:
    admin = replace(alice, role=UserRole.ADMIN)
    query = UsageQuery(NOW, NOW, by, is_everyone=True)
    for statement in grouped(admin, query, Period(NOW - timedelta(days=9), NOW)):
        _reads_a_range(_plan(filled, statement, {}))


def _reads_a_range(plan: str) -> None:
    """Expect that only the sums of the period are read: on SQLite the index is searched by their times."""
    assert "Seq Scan" not in plan, plan
    assert "usage_sum" in plan
    assert all("starts_at" in line for line in plan.splitlines() if "SEARCH usage_sum" in line), plan
    assert "SCAN usage_sum" not in plan, plan


def _plan(session: Session, statement: Any, values: dict[str, Any]) -> str:
    dialect = session.get_bind().dialect
    compiled = statement.compile(dialect=dialect)
    prefix = "EXPLAIN QUERY PLAN " if dialect.name == "sqlite" else "EXPLAIN "
    binds = {
        name: bind.type.dialect_impl(dialect).bind_processor(dialect) or (lambda value: value)
        for bind, name in compiled.bind_names.items()
    }
    bound_values = {
        name: binds[name](values.get(bind.key, bind.effective_value)) for bind, name in compiled.bind_names.items()
    }
    parameters: Any = (
        bound_values if not compiled.positional else tuple(bound_values[name] for name in compiled.positiontup)
    )
    rows = session.connection().exec_driver_sql(prefix + str(compiled), parameters).all()
    return "\n".join(str(row[-1]) for row in rows)


@pytest.mark.parametrize("typed", ["message", '"message 1" -other from:me', "mess 12"])
def test_search_starts_from_the_word_index(filled: Session, alice: Actor, typed: str) -> None:
    """Read the index from its newest end, without sorting the hits."""
    statements: list[tuple[str, Any]] = []
    connection = filled.connection()
    sa.event.listen(connection, "before_cursor_execute", lambda *event: statements.append((event[2], event[3])))
    search(filled, alice, typed, SearchFilters(), order="newest")
    statement, parameters = next(entry for entry in statements if "search_document.words" in entry[0])
    explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
    rows = connection.exec_driver_sql(explain + statement, parameters).all()
    plan = "\n".join(str(row[-1]) for row in rows)
    if connection.dialect.name == "sqlite":
        assert "SCAN search_index VIRTUAL TABLE INDEX" in plan, plan
        assert "SCAN search_document" not in plan, plan
        assert "TEMP B-TREE" not in plan, plan
    else:
        assert "Seq Scan on search_document" not in plan, plan


def test_embeddings_are_compared_and_found_by_their_indexes(filled: Session, alice: Actor) -> None:
    vector = bytes(range(128)) * 3
    while (waiting := next_unembedded(filled, 0, newest_document(filled))) is not None:
        embedded = [EmbeddedPassage(0, code_of(vector), vector)]
        store_passages(filled, waiting, embedded)
    filled.commit()
    filled.execute(sa.text("ANALYZE"))
    meaning = Meaning(vector, Meanings())
    statements = _asked(filled, lambda: search(filled, alice, "message", SearchFilters(), meaning=meaning))
    codes = next(entry for entry in statements if "search_passage.code" in entry[0])
    statements = _asked(filled, lambda: next_unembedded(filled, 0, newest_document(filled)))
    unembedded = next(entry for entry in statements if "EXISTS" in entry[0])
    connection = filled.connection()
    explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
    for statement, parameters in (codes, unembedded):
        rows = connection.exec_driver_sql(explain + statement, parameters).all()
        plan = "\n".join(str(row[-1]) for row in rows)
        if connection.dialect.name == "sqlite":
            assert "TEMP B-TREE" not in plan, plan
            assert "SCAN" not in plan, plan
    if connection.dialect.name == "sqlite":
        assert "COVERING INDEX ix_search_passage_owner_id_id_code" in str(
            connection.exec_driver_sql(explain + codes[0], codes[1]).all()
        )


def _asked(session: Session, work: Any) -> list[tuple[str, Any]]:
    statements: list[tuple[str, Any]] = []
    connection = session.connection()

    def hear(*event: Any) -> None:
        statements.append((event[2], event[3]))

    sa.event.listen(connection, "before_cursor_execute", hear)
    work()
    sa.event.remove(connection, "before_cursor_execute", hear)
    return statements


def test_lists_of_files_threads_and_shared_chats_use_their_indexes(filled: Session, alice: Actor) -> None:
    blobs = [new_id() for _ in range(400)]
    filled.execute(
        sa.insert(Blob),
        [
            {"id": blob_id, "content_hash": blob_id, "size_bytes": 1, "storage_path": "x", "mime_type": "text/plain"}
            for blob_id in blobs
        ],
    )
    filled.execute(sa.insert(BlobContent), [{"blob_id": blob_id, "text": "x", "created_at": NOW} for blob_id in blobs])
    people = filled.scalars(sa.select(User.id)).all()
    files = [
        {
            "id": new_id(),
            "user_id": people[number % len(people)],
            "blob_id": blobs[number % len(blobs)],
            "file_name": f"{number}.txt",
            "original_name": "",
            "mime_type": "text/plain",
            "file_size": 1,
            "status": "ready",
        }
        for number in range(2000)
    ]
    filled.execute(sa.insert(Attachment), files)
    messages = filled.scalars(sa.select(Message.id).limit(800)).all()
    links = [
        {
            "message_id": message_id,
            "attachment_id": files[place]["id"],
            "file_name": "x",
            "position": 0,
            "indexed_at": NOW,
        }
        for place, message_id in enumerate(messages)
    ]
    filled.execute(sa.insert(MessageAttachment), links)
    filled.commit()
    filled.execute(sa.text("ANALYZE"))
    filled.commit()
    with Session(filled.get_bind()) as session:
        _check_lists(session, alice)


def _check_lists(session: Session, alice: Actor) -> None:
    dialect = session.get_bind().dialect.name
    if dialect == "postgresql":
        session.execute(sa.text("SET enable_seqscan = off"))
    chat_id = ChatId(session.scalars(sa.select(Message.chat_id).limit(1)).one())
    message_id = MessageId(session.scalars(sa.select(Message.id).where(Message.chat_id == chat_id).limit(1)).one())
    for work in (
        lambda: list_attachments(session, alice, MessageFileUses()),
        lambda: list_attachments(session, alice, MessageFileUses(), chat_id=chat_id),
        lambda: list_messages(session, alice, chat_id, parent=message_id),
        lambda: list_shared_chats(session, alice),
        lambda: Shareables([chat_shares.SHAREABLE, draft_shares.SHAREABLE]).find_share_expiries(
            session, [alice.user_id]
        ),
        lambda: take_file(session),
        lambda: index_files(session),
    ):
        for statement, parameters in _asked(session, work):
            if not statement.lstrip().startswith("SELECT"):
                continue
            explain = "EXPLAIN QUERY PLAN " if dialect == "sqlite" else "EXPLAIN "
            rows = session.connection().exec_driver_sql(explain + statement, parameters).all()
            plan = "\n".join(str(row[-1]) for row in rows)
            assert not re.search(r"\bSCAN (?!branch\b|CONSTANT)\w+\b(?! USING)", plan), f"{statement}\n{plan}"
            assert "Seq Scan on" not in plan or "Seq Scan on share" in plan, f"{statement}\n{plan}"


def test_tool_calls_use_their_indexes(filled: Session, alice: Actor) -> None:
    """Check S001-063 to S001-066 and S001-150: calls of a chat, of a reply, pending calls, and expired calls."""
    chat_id, message_id = filled.execute(sa.select(Message.chat_id, Message.id).limit(1)).one()
    run_id = new_id()
    filled.execute(
        sa.insert(Run).values(id=run_id, chat_id=chat_id, message_id=message_id, provider="p", model_name="m")
    )
    others = filled.scalars(sa.select(User.id)).all()
    places = filled.execute(sa.select(Message.chat_id, Message.id)).all()
    calls = [
        {
            "chat_id": places[number % len(places)][0],
            "message_id": places[number % len(places)][1],
            "run_id": run_id,
            "step": 1,
            "requested_by": others[number % len(others)],
            "tool_call_id": "call",
            "tool_name": f"tool{number % 50}",
            "risk": "high",
            "parameters": {},
            "definition_digest": "d",
            "arguments_digest": "a",
            "status": "completed",
            "reason": "new",
            "estimated_cost": Decimal(0),
        }
        for number in range(4000)
    ]
    filled.execute(sa.insert(ToolExecution), calls)
    filled.commit()
    filled.execute(sa.text("ANALYZE"))
    filled.commit()
    with Session(filled.get_bind()) as session:
        reads: list[Callable[[], object]] = [
            lambda: list_own(session, alice, status=ToolStatus.PENDING),
            lambda: list_of_chat(session, alice, ChatId(chat_id)),
            lambda: list_of_message(session, alice, chat_id, message_id),
            lambda: list_own(session, alice),
            lambda: list_own(session, alice, chat_id=chat_id),
            lambda: sum_by_tool(session, alice),
            lambda: sum_by_tool(session, alice, chat_id=chat_id),
            lambda: has_expired(session),
            lambda: turns_of_messages(session, [message_id]),
            lambda: list_approved(session, run_id),
            lambda: spent_on_tools(session, alice.user_id, since=NOW),
        ]
        if session.get_bind().dialect.name == "postgresql":
            session.execute(sa.text("SET enable_seqscan = off"))
        prefix = "EXPLAIN QUERY PLAN " if session.get_bind().dialect.name == "sqlite" else "EXPLAIN "
        for read in reads:
            for statement, parameters in _asked(session, read):
                rows = session.connection().exec_driver_sql(prefix + statement, parameters)
                plan = "\n".join(str(row[-1]) for row in rows)
                assert not re.search(r"SCAN (tool_execution|usage_log)(?! USING)|Seq Scan", plan), (statement, plan)
