"""Test that units of work that PostgreSQL ended are run again, as often as allowed, and stored once."""

import asyncio
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.models import User
from tertulia.db.opening import open_database
from tertulia.db.postgres import TRIES
from tertulia.errors import StorageUnavailable
from tertulia.settings import Settings
from tests.factories.accounts import make_user


@pytest.fixture(params=["postgresql"])
def engine_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


def run_unit(settings: Settings, work: Callable[[Session], None]) -> None:
    async def main() -> None:
        db = open_database(settings)
        await db.start()
        try:
            await db.write(work)
        finally:
            await db.close()

    asyncio.run(main())


@pytest.mark.parametrize("failures", [1, TRIES - 1, TRIES])
def test_a_unit_whose_statement_took_too_long_is_run_again(settings: Settings, session: Session, failures: int) -> None:
    tries = 0

    def work(own: Session) -> None:
        nonlocal tries
        tries += 1
        make_user(own, username="late")
        if tries <= failures:
            own.execute(sa.text("SET LOCAL statement_timeout = '20ms'"))
            own.execute(sa.text("SELECT pg_sleep(5)"))

    if failures == TRIES:
        with pytest.raises(StorageUnavailable):
            run_unit(settings, work)
    else:
        run_unit(settings, work)
    assert tries == min(failures + 1, TRIES)
    stored = session.scalar(sa.select(sa.func.count()).select_from(User).where(User.username == "late"))
    assert stored == (failures < TRIES)
