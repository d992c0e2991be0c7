"""Portable column types: the same Python values on SQLite and PostgreSQL, in each engine's most compact form."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

import orjson
import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeDecorator, TypeEngine
from typing_extensions import override

from tertulia.ids import format_id

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MILLIONTH = Decimal("0.000001")
NOTHING = Decimal("0.000000")
T = TypeVar("T")


@lru_cache(maxsize=8192)
def time_from_microseconds(microseconds: int) -> datetime:
    return EPOCH + timedelta(0, 0, microseconds)


def decimal_from_millionths(millionths: int) -> Decimal:
    return Decimal(millionths).scaleb(-6) if millionths else NOTHING


class Id(TypeDecorator[str]):
    """A UUID as canonical text: 16 bytes on SQLite, a native uuid on PostgreSQL."""

    impl = sa.LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.Uuid(as_uuid=False))
        return dialect.type_descriptor(sa.LargeBinary(16))

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> object:
        if value is None or dialect.name == "postgresql":
            return value
        return bytes.fromhex(value.replace("-", ""))

    @override
    def process_result_value(self, value: Any, dialect: sa.Dialect) -> str | None:
        return format_id(value) if isinstance(value, bytes) else value


class UtcTime(TypeDecorator[datetime]):
    """A time in UTC: integer microseconds since 1970 on SQLite, timestamptz on PostgreSQL."""

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.DateTime(timezone=True))
        return dialect.type_descriptor(sa.BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> object:
        if value is None or dialect.name == "postgresql":
            return value
        return (value - EPOCH) // MICROSECOND

    @override
    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        if isinstance(value, int):
            return time_from_microseconds(value)
        return value.astimezone(UTC) if value is not None else None


class JsonOf(TypeDecorator[T]):
    """A typed structure as JSON (JSONB on PostgreSQL), validated when written and converted to its class when read.

    Fields that are None are left out, unless their shape requires them (`keeps_none`).
    """

    impl = sa.Text
    cache_ok = True

    def __init__(self, shape: type[T] | Any = object, *, keeps_none: bool = False) -> None:
        super().__init__()
        self.shape = shape
        self.keeps_none = keeps_none
        self.adapter: TypeAdapter[T] = TypeAdapter(shape)

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.JSONB(none_as_null=True))
        return dialect.type_descriptor(sa.Text())

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> object:
        if value is None:
            return None
        checked = self.adapter.validate_python(value)
        if dialect.name == "postgresql":
            return self.adapter.dump_python(checked, mode="json", exclude_none=not self.keeps_none)
        return self.adapter.dump_json(checked, exclude_none=not self.keeps_none).decode()

    @override
    def process_result_value(self, value: Any, dialect: sa.Dialect) -> T | None:
        if value is None:
            return None
        return self.adapter.validate_python(orjson.loads(value) if isinstance(value, str) else value)


class Xid(sa.types.UserDefinedType[int]):
    """The id of the transaction that wrote a row: xid8 on PostgreSQL, 0 on SQLite, where commits are in order."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


@compiles(Xid, "sqlite")
def _xid_on_sqlite(*_: object, **__: object) -> str:
    return "INTEGER"


class current_xid(sa.sql.functions.FunctionElement[int]):
    """The id of the current transaction, as the default of an Xid column."""

    inherit_cache = True


@compiles(current_xid, "postgresql")
def _xid_default_on_postgresql(*_: object, **__: object) -> str:
    return "pg_current_xact_id()"


@compiles(current_xid, "sqlite")
def _xid_default_on_sqlite(*_: object, **__: object) -> str:
    return "0"


class Money(TypeDecorator[Decimal]):
    """An amount with six decimals: millionths as an integer on SQLite, which has no decimals, NUMERIC on PostgreSQL."""

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.Numeric(12, 6))
        return dialect.type_descriptor(sa.BigInteger())

    def process_bind_param(self, value: Decimal | None, dialect: sa.Dialect) -> object:
        if value is None or dialect.name == "postgresql":
            return value
        return int(value.quantize(MILLIONTH).scaleb(6))

    @override
    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Decimal | None:
        return decimal_from_millionths(value) if isinstance(value, int) else value


class MoneySum(Money):
    """A sum of amounts, which may have more digits than each of them."""

    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.Numeric(20, 6))
        return dialect.type_descriptor(sa.BigInteger())


def closed(kinds: type[StrEnum]) -> sa.Enum:
    """Create a column type for a closed set of values, enforced by a CHECK constraint."""
    return sa.Enum(
        kinds,
        native_enum=False,
        create_constraint=True,
        length=max(len(kind) for kind in kinds),
        values_callable=lambda members: [member.value for member in members],
        name=_snake(kinds.__name__),
    )


def _snake(name: str) -> str:
    return "".join(f"_{character.lower()}" if character.isupper() else character for character in name).lstrip("_")


class utc_now(sa.sql.functions.FunctionElement[datetime]):
    """The time of the database, so that processes with different clocks agree about leases."""

    type = UtcTime()
    inherit_cache = True


@compiles(utc_now, "postgresql")
def _now_on_postgresql(*_: object, **__: object) -> str:
    return "clock_timestamp()"


@compiles(utc_now, "sqlite")
def _now_on_sqlite(*_: object, **__: object) -> str:
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000000.0) AS INTEGER)"


class later_of(sa.sql.functions.FunctionElement[datetime]):
    """The later of two times."""

    type = UtcTime()
    inherit_cache = True


@compiles(later_of, "postgresql")
def _later_of_on_postgresql(element: later_of, compiler: SQLCompiler, **kw: Any) -> str:
    return f"greatest({compiler.process(element.clauses, **kw)})"


@compiles(later_of, "sqlite")
def _later_of_on_sqlite(element: later_of, compiler: SQLCompiler, **kw: Any) -> str:
    return f"max({compiler.process(element.clauses, **kw)})"


class seconds_from_now(sa.sql.functions.FunctionElement[datetime]):
    """The time of the database plus a number of seconds."""

    type = UtcTime()
    inherit_cache = True

    def __init__(self, seconds: int) -> None:
        super().__init__(sa.bindparam(None, seconds, type_=sa.Integer()))


@compiles(seconds_from_now, "postgresql")
def _later_on_postgresql(element: seconds_from_now, compiler: SQLCompiler, **kw: Any) -> str:
    return f"clock_timestamp() + {compiler.process(element.clauses, **kw)} * interval '1 second'"


@compiles(seconds_from_now, "sqlite")
def _later_on_sqlite(element: seconds_from_now, compiler: SQLCompiler, **kw: Any) -> str:
    return f"{_now_on_sqlite()} + {compiler.process(element.clauses, **kw)} * 1000000"
