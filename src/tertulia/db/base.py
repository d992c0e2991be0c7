"""The declarative base, the names of constraints, and the columns that every table has."""

from datetime import datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tertulia import clock
from tertulia.db.types import UtcTime

NAMES = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}


class Base(DeclarativeBase):
    metadata = sa.MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar = {datetime: UtcTime()}


class CreatedAt:
    """A table whose rows never change."""

    created_at: Mapped[datetime] = mapped_column(default=clock.now, sort_order=90)


class Timestamps(CreatedAt):
    """A table whose rows change. Every update through SQLAlchemy sets `updated_at`."""

    updated_at: Mapped[datetime] = mapped_column(default=clock.now, onupdate=clock.now, sort_order=91)


def table_of(model: type[Base]) -> sa.Table:
    """Return the table of a model, for statements that name columns rather than attributes."""
    table = model.__table__
    assert isinstance(table, sa.Table)
    return table
