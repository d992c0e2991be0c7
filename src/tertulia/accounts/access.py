"""May this actor? Conditions in SQL that every getter puts into its own query, so that no caller must remember them.

They are written over columns and the bind parameter `actor_id`, not over tables, so that packages below chat can ask too.
Shares and projects widen them here, in one place, when they come.
"""

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from tertulia.db.types import Id


def actor_id() -> sa.BindParameter[str]:
    return sa.bindparam("actor_id", type_=Id())


def may_read_chat(owner_id: ColumnElement[str] | sa.orm.InstrumentedAttribute[str]) -> ColumnElement[bool]:
    return owner_id == actor_id()


def may_write_chat(owner_id: ColumnElement[str] | sa.orm.InstrumentedAttribute[str]) -> ColumnElement[bool]:
    return owner_id == actor_id()
