"""Test backup and restore: both databases, consistency under load, damaged files, and upgrades of old schemas."""

import threading
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from tertulia import tables
from tertulia.accounts.actor import Actor
from tertulia.accounts.models import UserRole
from tertulia.chat.counters import find_wrong_counters, find_wrong_totals
from tertulia.chat.indexing import SETTING, build_index
from tertulia.db.migrate import known_revisions, migrate_to, schema_state, upgrade_schema
from tertulia.db.opening import plain_engine
from tertulia.ids import UserId, new_id
from tertulia.search.service import SearchFilters, search
from tertulia.settings import Settings
from tertulia.transfer.backup import NOT_KEPT, BackupError, back_up, restore, verify_backup
from tests.conftest import ENGINES, ServerMaker
from tests.fakes.live_server import Client, LiveServer

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
RECOUNTS = (find_wrong_counters, find_wrong_totals)
NewInstance = Callable[[str], Settings]


@pytest.fixture
def new_instance(postgres_url: str, tmp_path: Path) -> Iterator[NewInstance]:
    """Return a function that makes settings for a new, empty instance."""
    databases: list[str] = []

    def make(kind: str) -> Settings:
        folder = tmp_path / f"new-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        if kind == "sqlite":
            return Settings(data=folder, local_model="none", embedding_model="none")
        name = f"new_{new_id()[-12:]}"
        _run(postgres_url, f'CREATE DATABASE "{name}"')
        databases.append(name)
        url = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
        return Settings(data=folder, local_model="none", embedding_model="none", database_url=url)

    yield make
    for name in databases:
        _run(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


def _run(url: str, statement: str) -> None:
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def copy_ring(source: Settings, target: Settings) -> None:
    (target.data / "secret_keys").write_bytes((source.data / "secret_keys").read_bytes())
    (target.data / "secret_keys").chmod(0o600)


def content(settings: Settings) -> dict[str, list[Any]]:
    """Return the rows of each table that a backup contains, as sorted text by table name."""
    engine = plain_engine(settings, writes=False)
    rows = {}
    with engine.connect() as connection:
        for table in tables.metadata.sorted_tables:
            if table.name not in NOT_KEPT:
                rows[table.name] = sorted(map(repr, connection.execute(sa.select(table))))
        # The progress of the search index differs between the two instances.
        rows["instance_setting"] = [row for row in rows["instance_setting"] if SETTING not in row]
    engine.dispose()
    return rows


def lived_in(ana: Client) -> None:
    """Create chats, versions, a provider, a token, preferences and a draft."""
    chat = ana.chat(title="Ñandú 面包 🜚", settings={"temperature": 0.5}, system_prompt="Be brief.")
    sent = ana.say(chat["id"], 'Hello\nthere\t"quoted" end')
    ana.finished(sent["run"]["id"])
    ana.api("POST", f"/messages/{sent['message']['id']}/edit", json={"content": "Edited", "in_place": True}, expect=201)
    again = ana.api("POST", f"/messages/{sent['reply']['id']}/regenerate", expect=201)
    ana.finished(again["run"]["id"])
    ana.api("DELETE", f"/chats/{ana.chat(title='In the trash')['id']}", expect=204)
    ana.api("POST", "/provider-configs", json={"provider": "mistral", "api_key": "secret-key-0123"}, expect=201)
    ana.api("POST", "/api-tokens", json={"name": "script"}, expect=201)
    ana.api("PATCH", "/me", json={"preferences": {"theme": "dark"}})
    draft = ana.api("POST", "/drafts", json={"content": "Hello aunt"}, expect=201)["id"]
    ana.api(
        "POST", f"/drafts/{draft}/versions", json={"content": "My good aunt", "parent_version_number": 1}, expect=201
    )
    copy = {"content": "My very good aunt", "base_version_number": 2, "revision": 0, "window_id": "a"}
    ana.api("PUT", f"/drafts/{draft}/working-copy", json=copy)


@pytest.mark.parametrize("target", ENGINES)
def test_a_backup_is_restored_completely_on_either_database(
    ana: Client, server: LiveServer, new_instance: NewInstance, start_server: ServerMaker, tmp_path: Path, target: str
) -> None:
    lived_in(ana)
    settings = server.settings
    file = tmp_path / "all.zip"
    summary = back_up(settings, file, now=NOW)
    assert summary.rows["message"] == 3
    assert file.stat().st_mode & 0o077 == 0
    server.stop()
    target_settings = new_instance(target)
    copy_ring(settings, target_settings)
    restore(target_settings, file, RECOUNTS, now=NOW)
    engine = plain_engine(settings)
    with engine.begin() as connection:  # the restored instance builds its search index again
        drafts = tables.metadata.tables["draft"]
        connection.execute(sa.update(drafts).values(indexed_number=0, updated_at=drafts.c.updated_at))
    engine.dispose()
    before, after = content(settings), content(target_settings)
    for name in before:
        # Last uses are written at the stop, and a restore ends all sessions and tokens.
        if name not in ("session", "user", "audit_log", "provider_config", "api_token"):
            assert after[name] == before[name], name
    revived = LiveServer(target_settings).start()
    try:
        with Client(revived.url) as client:
            client.api("POST", "/session", json={"username": "ana", "password": "correct horse battery"}, expect=201)
            assert client.api("GET", "/me")["preferences"]["theme"] == "dark"
            (chat,) = client.api("GET", "/chats")["items"]
            messages = client.api("GET", f"/chats/{chat['id']}/messages")["items"]
            assert messages[1]["content"] == "Edited"
            assert client.api("GET", "/provider-configs")["items"][0]["key_hint"] == "sec"
            assert client.api("GET", "/usage")["total"]["replies"] == 2
            (draft,) = client.api("GET", "/drafts")["items"]
            kept = client.api("GET", f"/drafts/{draft['id']}")
            assert (kept["current_version"]["content"], kept["working_copy"]["content"]) == (
                "My good aunt",
                "My very good aunt",
            )
    finally:
        revived.stop()


def test_a_backup_under_load_is_consistent(
    ana: Client, server: LiveServer, new_instance: NewInstance, tmp_path: Path
) -> None:
    chats = [ana.chat()["id"] for _ in range(3)]
    acknowledged: list[str] = []
    over = threading.Event()

    def write(chat_id: str) -> None:
        with Client(server.url, cookies=dict(ana.cookies)) as client:
            while not over.is_set():
                acknowledged.append(client.say(chat_id, "more", reply=False)["message"]["id"])

    threads = [threading.Thread(target=write, args=(chat_id,)) for chat_id in chats]
    for thread in threads:
        thread.start()
    files = []
    for number in range(3):
        known = list(acknowledged)
        back_up(server.settings, tmp_path / f"{number}.zip", now=NOW)
        files.append((tmp_path / f"{number}.zip", known))
    over.set()
    for thread in threads:
        thread.join()
    file, known = files[-1]
    target = new_instance("sqlite")
    restore(target, file, RECOUNTS, now=NOW)  # recounts all counters and checks every foreign key
    engine = plain_engine(target, writes=False)
    with engine.connect() as connection:
        ids = set(connection.scalars(sa.select(tables.metadata.tables["message"].c.id)))
    engine.dispose()
    assert set(known) <= ids


def test_a_damaged_backup_is_refused_before_anything_is_written(
    ana: Client, server: LiveServer, new_instance: NewInstance, tmp_path: Path
) -> None:
    lived_in(ana)
    file = tmp_path / "all.zip"
    back_up(server.settings, file, now=NOW)
    whole = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        offset = archive.getinfo("tables/message.jsonl").header_offset + 140
    target = new_instance("sqlite")
    for broken in (whole[: len(whole) // 2], whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :], b"PK"):
        file.write_bytes(broken)
        with pytest.raises(BackupError):
            restore(target, file, RECOUNTS, now=NOW)
    assert not (target.data / "tertulia.db").exists() or content(target)["user"] == []


def test_a_flipped_bit_is_detected_or_harmless(ana: Client, server: LiveServer, tmp_path: Path) -> None:
    """Verify the file with single bits flipped. Only unused dates in the zip directory may change unnoticed."""
    lived_in(ana)
    file = tmp_path / "all.zip"
    back_up(server.settings, file, now=NOW)
    whole, summary, refused = file.read_bytes(), verify_backup(file), 0
    flipped = range(0, len(whole), max(1, len(whole) // 300))
    for offset in flipped:
        file.write_bytes(whole[:offset] + bytes([whole[offset] ^ (1 << offset % 8)]) + whole[offset + 1 :])
        try:
            assert verify_backup(file) == summary
        except BackupError:
            refused += 1
    assert refused > len(flipped) / 2


def test_restore_needs_an_empty_instance_and_backup_a_new_file(ana: Client, server: LiveServer, tmp_path: Path) -> None:
    file = tmp_path / "all.zip"
    back_up(server.settings, file, now=NOW)
    with pytest.raises(BackupError, match="not empty"):
        restore(server.settings, file, RECOUNTS, now=NOW)
    with pytest.raises(BackupError, match="already exists"):
        back_up(server.settings, file, now=NOW)


def test_a_backup_that_cannot_be_written_leaves_no_file(ana: Client, server: LiveServer, tmp_path: Path) -> None:
    with pytest.raises(BackupError):
        back_up(server.settings, tmp_path / "nowhere" / "all.zip", now=NOW)
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


OLD: dict[str, list[str]] = {
    "0001": [
        """INSERT INTO "user" (id, username, username_key, name, email_verified, role, preferences, status, created_at, updated_at)
           VALUES (:user, 'ada', 'ada', 'Ada', {false}, 'admin', '{{}}', 'active', :now, :now)""",
        """INSERT INTO session (id, user_id, token_hash, expires_at, started_at, last_active_at, is_active, created_at, updated_at)
           VALUES (:session, :user, :hash, :now, :now, :now, {false}, :now, :now)""",
        """INSERT INTO chat (id, user_id, kind, title, settings, metadata, visibility, is_archived, message_count, last_message_at,
             total_tokens, total_cost, created_at, updated_at)
           VALUES (:chat, :user, 'direct', 'Old', '{{}}', '{{}}', 'private', {false}, 1, :now, 12, 0, :now, :now)""",
        """INSERT INTO message (id, chat_id, role, status, thread_level, metadata, edit_history, content, parts, created_at, updated_at)
           VALUES (:message, :chat, 'assistant', 'sent', 0, '{{"provider"\\:"openai","model"\\:"gpt-4o"}}', '[]', 'Old words',
             '[{{"type"\\:"text","text"\\:"Old words"}}]', :now, :now)""",
        """INSERT INTO run (id, chat_id, message_id, requested_by, status, provider, model_name, continues, lease_number, usage,
             created_at, updated_at)
           VALUES (:run, :chat, :message, :user, 'completed', 'openai', 'gpt-4o', {false}, 1,
             '{{"prompt"\\:7,"completion"\\:5,"total"\\:12}}', :now, :now)""",
    ],
}
OLD["0002"] = [
    *OLD["0001"],
    """INSERT INTO usage_log (id, user_id, chat_id, message_id, run_id, kind, status, provider, model_name, input_tokens, output_tokens,
         cached_tokens, is_estimated, created_at, updated_at)
       VALUES (:log, :user, :chat, :message, :run, 'model', 'settled', 'openai', 'gpt-4o', 7, 5, 0, {false}, :now, :now)""",
]
OLD["0003"] = [
    *OLD["0002"],
    """INSERT INTO tag (id, user_id, name, name_key, colour, created_at, updated_at)
       VALUES (:tag, :user, 'Home', 'home', 'blue', :now, :now)""",
    "INSERT INTO chat_tag (chat_id, tag_id, created_at) VALUES (:chat, :tag, :now)",
]
OLD["0004"] = [
    *OLD["0003"],
    "INSERT INTO reaction (message_id, user_id, emoji, created_at) VALUES (:message, :user, '+1', :now)",
]
OLD["0005"] = OLD["0004"]  # this revision only rebuilds existing data
OLD["0006"] = [
    *OLD["0005"],
    """INSERT INTO share (id, chat_id, owner_id, token_hash, can_read, can_write, can_share, is_active, access_count, created_at, updated_at)
       VALUES (:share, :chat, :user, :hash, {true}, {false}, {false}, {true}, 3, :now, :now)""",
]
OLD["0007"] = [*OLD["0006"], "UPDATE message SET context_rule = 'pinned' WHERE id = :message"]
OLD["0008"] = [
    *OLD["0007"],
    """INSERT INTO tool_execution (id, chat_id, message_id, run_id, step, requested_by, tool_call_id, tool_name, risk, parameters,
         definition_digest, arguments_digest, status, reason, untrusted_sources, estimated_cost, is_untrusted, created_at, updated_at)
       VALUES (:tag, :chat, :message, :run, 1, :user, 'call', 'calculate', 'read_only', '{{}}', 'digest', 'digest', 'completed', 'read_only',
         '[]', 0, {true}, :now, :now)""",
]
OLD["0009"] = [
    *OLD["0008"],
    """INSERT INTO tool_server (id, user_id, name, url, header_names, cost_per_call, definitions, is_active, created_at, updated_at)
       VALUES (:share, :user, 'tools', 'https://tools.example/mcp', '[]', 0, '[]', {true}, :now, :now)""",
]
OLD["0010"] = [
    *OLD["0009"],
    """INSERT INTO context_optimization (id, chat_id, created_by, trigger_reason, optimization_type, boundary_message_id,
         leaf_message_id, tokens_before, tokens_after, is_edited, affected_messages, created_at, updated_at)
       VALUES (:share, :chat, :user, 'auto', 'truncation', :message, :message, 9, 4, {false}, '[]', :now, :now)""",
]
OLD["0011"] = [*OLD["0010"], "UPDATE context_optimization SET stale_at = :now"]
OLD["0012"] = [
    *OLD["0010"],
    "UPDATE context_optimization SET superseded_at = :now",
    """UPDATE tool_execution SET tool_name = 'fetch_page', untrusted_sources = '["notes.txt"]'""",
]
OLD["0013"] = [
    *(statement.replace("untrusted_sources", "sources") for statement in OLD["0010"]),
    "UPDATE context_optimization SET superseded_at = :now",
]
OLD["0014"] = [
    *OLD["0013"],
    """UPDATE tool_execution SET echo = '{{"origin": "here", "family": "m", "call": "1"}}'""",
]
OLD["0015"] = [*OLD["0014"], "UPDATE usage_log SET cache_write_tokens = 5"]
OLD["0016"] = [*OLD["0015"], """UPDATE run SET options = '{{"web_search": true}}'"""]
OLD["0017"] = OLD["0016"]
OLD["0018"] = OLD["0017"]
OLD["0019"] = [*OLD["0018"], "UPDATE usage_log SET thinking_tokens = 3"]
OLD["0020"] = OLD["0019"]
OLD["0021"] = OLD["0020"]
OLD["0022"] = OLD["0021"]


@pytest.mark.parametrize("revision", known_revisions()[:-1])
@pytest.mark.parametrize("kind", ENGINES)
def test_every_released_schema_is_upgraded_with_its_data(new_instance: NewInstance, kind: str, revision: str) -> None:
    settings = new_instance(kind)
    migrate_to(settings, revision)
    engine = plain_engine(settings)
    types = {
        "now": tables.metadata.tables["user"].c.created_at.type,
        **{
            name: tables.metadata.tables["user"].c.id.type
            for name in ("user", "session", "chat", "message", "run", "log", "tag", "share")
        },
    }
    values: dict[str, Any] = {
        name: new_id() for name in ("user", "session", "chat", "message", "run", "log", "tag", "share")
    } | {
        "now": NOW,
        "hash": b"x" * 32,
    }
    with engine.begin() as connection:
        for statement in OLD[revision]:
            false, true = ("false", "true") if kind == "postgresql" else ("0", "1")
            text = sa.text(statement.format(false=false, true=true))
            bound = {name: value for name, value in values.items() if f":{name}" in statement}
            known = [sa.bindparam(name, type_=types[name]) for name in bound if name in types]
            connection.execute(text.bindparams(*known), bound)
    state = upgrade_schema(settings, now=NOW, back_up=lambda path: back_up(settings, path, now=NOW))
    assert state == "older"
    with engine.connect() as connection:
        assert schema_state(connection) == "current"
        ledger = tables.metadata.tables["usage_log"]
        entered = connection.execute(sa.select(ledger.c.input_tokens, ledger.c.output_tokens, ledger.c.cost)).all()
        assert [tuple(row) for row in entered] == [(7, 5, None)]
        text_content = connection.scalar(sa.select(tables.metadata.tables["message"].c.content))
        assert text_content == "Old words"
        share = tables.metadata.tables["share"]
        kept = connection.execute(sa.select(share.c.chat_id, share.c.draft_id, share.c.access_count)).all()
        assert [tuple(row) for row in kept] == ([(values["chat"], None, 3)] if revision >= "0006" else [])
        superseded = connection.scalars(sa.select(tables.metadata.tables["context_optimization"].c.superseded_at)).all()
        assert superseded == {"0010": [None]}.get(revision, [NOW] if revision > "0010" else [])
        execution = tables.metadata.tables["tool_execution"]
        read_from = connection.scalars(sa.select(execution.c.result_sources)).all()
        kinds = [source["kind"] for sources in read_from for source in sources]
        assert kinds == (["web"] if revision == "0012" else [])
    with Session(engine) as session, session.begin():
        while not build_index(session).is_built:
            pass
        owner = Actor(UserId(values["user"]), UserRole.USER)
        assert len(search(session, owner, "old", SearchFilters())[0]) == 2  # the title, and the message
    engine.dispose()
    (copy,) = (path for path in settings.data.iterdir() if "before-upgrade" in path.name)
    if kind == "postgresql":
        assert verify_backup(copy).revision == revision
        again = new_instance("postgresql")
        restore(again, copy, RECOUNTS, now=NOW)  # restores the old version and upgrades it
        assert content(again)["message"] == content(settings)["message"]
