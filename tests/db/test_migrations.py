"""Tests for migrations, which both engines share, and for the database check."""

import re
import sqlite3
import threading
from contextlib import closing

import pytest
import sqlalchemy as sa

from tertulia.chat.counters import find_wrong_counters
from tertulia.db.check import check_database
from tertulia.db.migrate import known_revisions, upgrade_schema
from tertulia.db.opening import plain_engine
from tertulia.errors import SettingsError
from tertulia.settings import Settings
from tests.conftest import MOMENT


def test_a_second_upgrade_changes_nothing(settings: Settings) -> None:
    assert upgrade_schema(settings, now=MOMENT) == "current"


def test_a_schema_of_a_newer_version_is_refused_and_left_unchanged(settings: Settings) -> None:
    engine = plain_engine(settings)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    try:
        with pytest.raises(SettingsError, match="newer Tertulia"):
            upgrade_schema(settings, now=MOMENT)
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "9999"
        assert check_database(engine, []).findings
    finally:
        with engine.begin() as connection:
            connection.execute(
                sa.text("UPDATE alembic_version SET version_num = :version"), {"version": known_revisions()[-1]}
            )
        engine.dispose()


def test_concurrent_upgrades_migrate_once(postgres_url: str, tmp_path) -> None:
    engine = sa.create_engine(
        postgres_url.replace("postgresql://", "postgresql+psycopg://"),
        isolation_level="AUTOCOMMIT",
        poolclass=sa.NullPool,
    )
    with engine.connect() as connection:
        connection.execute(sa.text("DROP DATABASE IF EXISTS twice"))
        connection.execute(sa.text("CREATE DATABASE twice"))
    settings = Settings(data=tmp_path, database_url=postgres_url.replace("/postgres?", "/twice?"))
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(upgrade_schema(settings, now=MOMENT))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["current", "empty"]
    with engine.connect() as connection:
        connection.execute(sa.text("DROP DATABASE twice"))
    engine.dispose()


def test_a_healthy_database_has_no_findings(settings: Settings, session, alice) -> None:
    from tests.factories.chats import make_chat

    make_chat(session, owner=alice, messages=5)
    session.commit()
    engine = plain_engine(settings)
    report = check_database(engine, [find_wrong_counters])
    engine.dispose()
    assert report.findings == []


def test_the_check_reports_table_sizes_largest_first(settings: Settings, session, alice) -> None:
    from tests.factories.chats import make_chat

    make_chat(session, owner=alice, messages=50)
    session.commit()
    engine = plain_engine(settings)
    notes = check_database(engine, []).notes
    engine.dispose()
    (sizes_note,) = (note for note in notes if note.startswith("The database has"))
    sizes = re.findall(r"(\w+) ([\d.]+) (B|KiB|MiB)[,.]", sizes_note)
    in_bytes = [float(size) * {"B": 1, "KiB": 1024, "MiB": 1024**2}[unit] for _, size, unit in sizes]
    assert {"message", "chat", "provider_model"} <= {name for name, _, _ in sizes}
    assert in_bytes == sorted(in_bytes, reverse=True), "the largest first"


def test_a_wrong_counter_and_a_missing_index_are_found(settings: Settings, session, alice) -> None:
    from tests.factories.chats import make_chat

    make_chat(session, owner=alice, messages=5)
    session.execute(sa.text("UPDATE chat SET message_count = 4"))
    session.execute(sa.text("DROP INDEX ix_run_message_id"))
    session.commit()
    engine = plain_engine(settings)
    try:
        findings = check_database(engine, [find_wrong_counters]).findings
        assert len(findings) == 2
        assert "ix_run_message_id" in findings[0]
        assert "4 messages stored, 5 counted" in findings[1]
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE INDEX ix_run_message_id ON run (message_id)"))
        engine.dispose()


def test_a_dangling_reference_is_found(sqlite_template, tmp_path) -> None:
    import shutil

    shutil.copy(sqlite_template, tmp_path / "tertulia.db")
    with closing(sqlite3.connect(tmp_path / "tertulia.db")) as connection:
        connection.execute("INSERT INTO step VALUES (x'01', x'02', 1, '{}', NULL, NULL, NULL, 0, 0)")
        connection.commit()
    engine = plain_engine(Settings(data=tmp_path))
    findings = check_database(engine, []).findings
    engine.dispose()
    assert any("points at a missing row of run" in finding for finding in findings)
