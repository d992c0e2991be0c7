"""What the thousand apps of the tests would each find out anew, though it is the same for all: it is found once a process.

The tests that start real processes run without this.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from fastapi import routing
from fastapi.dependencies.models import Dependant
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.util import LRUCache

STATEMENTS_KEPT = 4000


def remember() -> None:
    _remember_signatures()
    _remember_statements()


def _remember_signatures() -> None:
    """FastAPI looks into the signature of each endpoint for each app. Apps differ in what their endpoints close over alone, so
    what was found of the same code counts for the next."""
    look: Callable[..., Dependant] = vars(routing)["get_dependant"]
    known: dict[tuple[str, object], Dependant] = {}

    def remembered(*, path: str, call: Callable[..., Any], **options: Any) -> Dependant:
        code = getattr(call, "__code__", None)
        if code is None:
            return look(path=path, call=call, **options)
        if (path, code) not in known:
            known[path, code] = look(path=path, call=call, **options)
        return replace(known[path, code], call=call)

    vars(routing)["get_dependant"] = remembered


def _remember_statements() -> None:
    """SQLAlchemy makes a statement's text for each engine. Of one dialect all engines are made alike here, so one text does."""
    texts: LRUCache[Any, Any] = LRUCache(STATEMENTS_KEPT)
    DefaultDialect.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]
    DefaultDialect.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[method-assign]

    @sa.event.listens_for(sa.Engine, "engine_connect")
    def share(connection: sa.Connection) -> None:
        connection.execution_options(compiled_cache=texts)
