"""The database: portable types, units of work, one migration history for SQLite and PostgreSQL."""

from tertulia.db.base import Base, CreatedAt, Timestamps, table_of
from tertulia.db.database import Database, at_end, wake
from tertulia.db.limits import limited_time
from tertulia.db.prepared import Prepared
from tertulia.db.types import (
    Id,
    JsonOf,
    Money,
    MoneySum,
    UtcTime,
    Xid,
    closed,
    current_xid,
    later_of,
    seconds_from_now,
    utc_now,
)
from tertulia.db.upsert import insert_if_absent, rowcount

__all__ = [
    "Base",
    "CreatedAt",
    "Database",
    "Id",
    "JsonOf",
    "Money",
    "MoneySum",
    "Prepared",
    "Timestamps",
    "UtcTime",
    "Xid",
    "at_end",
    "closed",
    "current_xid",
    "insert_if_absent",
    "later_of",
    "limited_time",
    "rowcount",
    "seconds_from_now",
    "table_of",
    "utc_now",
    "wake",
]
