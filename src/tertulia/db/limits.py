"""Limit how long statements may take whose search terms a user chooses."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.orm import Session

STEPS = 20_000  # SQLite VM instructions between two checks of the clock: about a millisecond


@contextmanager
def limited_time(session: Session, limit_s: float = 2.0) -> Iterator[None]:
    """Limit the time of the statements within. Raises TimeoutError, after which the transaction cannot be used."""
    driver = session.connection().connection.driver_connection
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    try:
        if is_sqlite and driver is not None:
            deadline = time.monotonic() + limit_s
            driver.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)
        else:
            session.execute(sa.text(f"SET LOCAL statement_timeout = {int(limit_s * 1000)}"))
        yield
    except sa.exc.DBAPIError as error:
        if "interrupted" in str(error.orig) or "statement timeout" in str(error.orig):
            raise TimeoutError(f"longer than {limit_s} s") from error
        raise
    finally:
        if is_sqlite and driver is not None:
            driver.set_progress_handler(None, 0)
