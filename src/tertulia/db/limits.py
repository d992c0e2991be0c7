"""How long statements may take where a person decides what they look for."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.orm import Session

STEPS = 20_000  # of SQLite's machine between two looks at the clock: about a millisecond


@contextmanager
def limited_time(session: Session, limit_s: float = 2.0) -> Iterator[None]:
    """Raises TimeoutError when the statements within take longer; the transaction is of no more use then."""
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
