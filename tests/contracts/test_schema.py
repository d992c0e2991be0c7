"""Tests for the schema of every table on both engines."""

import subprocess
import sys
from enum import StrEnum

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import exc
from sqlalchemy.orm import Session

from tertulia import tables
from tertulia.accounts.actor import Actor
from tertulia.db.migrate import is_managed_by_models
from tertulia.db.opening import plain_engine
from tertulia.settings import Settings

TABLES = tables.metadata.sorted_tables
KEYS = [
    (table, key) for table in TABLES for key in sorted(table.foreign_key_constraints, key=lambda key: str(key.name))
]


def test_the_migrations_match_the_models(settings: Settings) -> None:
    engine = plain_engine(settings)
    with engine.connect() as connection:
        sa.dialects.postgresql.base.ischema_names.setdefault("xid8", sa.types.NullType)
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "include_name": is_managed_by_models}
        )
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()


def test_the_tables_module_alone_knows_every_table() -> None:
    """Load it in a new process: here, the rest of the application has already loaded the other modules."""
    script = "from tertulia.tables import metadata; print(*sorted(metadata.tables))"
    alone = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    import tertulia.app  # noqa: F401 - loads every module with a table

    assert alone == sorted(tables.metadata.tables)


def test_foreign_keys_in_the_database_match_the_models(settings: Settings) -> None:
    engine = plain_engine(settings)
    inspector = sa.inspect(engine)
    for table in TABLES:
        stored = {
            (tuple(k["constrained_columns"]), k["referred_table"], k["options"].get("ondelete", "NO ACTION"))
            for k in inspector.get_foreign_keys(table.name)
        }
        declared = {
            (tuple(key.column_keys), key.referred_table.name, key.ondelete or "NO ACTION")
            for key in table.foreign_key_constraints
        }
        assert stored == declared, table.name
    engine.dispose()


@pytest.mark.parametrize(("table", "key"), KEYS, ids=lambda value: getattr(value, "name", None))
def test_every_foreign_key_has_an_on_delete_action_and_an_index(table: sa.Table, key: sa.ForeignKeyConstraint) -> None:
    assert key.ondelete in ("CASCADE", "SET NULL", "NO ACTION")
    first = key.column_keys[0]
    starts = [[column.name for column in index.columns][:1] for index in table.indexes]
    starts += [[column.name for column in table.primary_key.columns][:1]]
    starts += [
        [column.name for column in unique.columns][:1]
        for unique in table.constraints
        if isinstance(unique, sa.UniqueConstraint)
    ]
    assert [first] in starts


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_table_has_a_creation_time(table: sa.Table) -> None:
    assert not table.c.created_at.nullable
    assert table.name == table.name.lower()


CLOSED = [(table, column) for table in TABLES for column in table.columns if isinstance(column.type, sa.Enum)]


@pytest.mark.parametrize(("table", "column"), CLOSED, ids=lambda value: getattr(value, "name", None))
def test_every_closed_set_has_an_enum_and_a_check_constraint(
    settings: Settings, table: sa.Table, column: sa.Column
) -> None:
    assert issubclass(_words_of(column), StrEnum)
    engine = plain_engine(settings)
    checks = sa.inspect(engine).get_check_constraints(table.name)
    engine.dispose()
    mine = [check["sqltext"] for check in checks if column.name in check["sqltext"]]
    assert any(all(member.value in text for member in _words_of(column)) for text in mine)


def test_the_database_refuses_a_value_outside_its_set(session: Session, alice: Actor) -> None:
    session.commit()
    with pytest.raises(exc.IntegrityError):
        session.execute(sa.text("UPDATE \"user\" SET status = 'nonsense'"))


def _words_of(column: sa.Column) -> type[StrEnum]:
    assert isinstance(column.type, sa.Enum)
    kinds: type[StrEnum] = column.type.enum_class  # type: ignore[assignment]
    return kinds
