"""Run periodic jobs, each in one process at a time under a lease in the database."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.db import Database, insert_if_absent, rowcount, seconds_from_now, utc_now
from tertulia.errors import AppError
from tertulia.jobs.models import Lease
from tertulia.services import Services

log = logging.getLogger(__name__)
MORE = object()


REPEAT_DELAY_S = 0.5  # pause before a job that returned MORE runs again


@dataclass(frozen=True)
class Job:
    """A periodic unit of work, which may be run again at any time.

    Work that is too much for one transaction does a part and returns `MORE`. A frequent job has `is_due`: this check
    only reads, so nothing is written while there is no work. What takes long to read is read by `measure` outside the
    transaction that writes, and `work` gets it.
    """

    name: str
    every_s: float
    work: Callable[..., object]
    is_due: Callable[[Session], bool] | None = None
    measure: Callable[[Session], object] | None = None
    pause_s: float = REPEAT_DELAY_S  # after `MORE`


class ProcessId(str):
    """A name of this process that owns its leases and runs."""


@dataclass(frozen=True)
class Jobs:
    """Contribution of a feature: its periodic work, made when the app is built."""

    make: Callable[[Services], Iterable[Job]]


class Scheduler:
    """The jobs of this process, each run under its lease. A failure is logged, and the job is tried again later."""

    def __init__(self, db: Database, owner: str, jobs: list[Job]) -> None:
        self._db = db
        self._owner = owner
        self._jobs = jobs
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._repeat(job), name=job.name) for job in self._jobs]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _repeat(self, job: Job) -> None:
        while True:
            result: object = None
            try:
                if job.is_due is None or await self._db.read(job.is_due):
                    measured = [await self._db.read(job.measure)] if job.measure else []
                    result = await self._db.write(run_under_lease, job, *measured, owner=self._owner)
            except AppError as error:
                log.warning("job %s: %s", job.name, error.detail)
            except Exception:
                log.exception("job %s failed", job.name)
            await asyncio.sleep(job.pause_s if result is MORE else job.every_s)


def take_turn(session: Session, name: str, owner: str, *, every_s: float) -> bool:
    """Return whether this process may now do work that is done once in `every_s` seconds by all processes together."""
    now = clock.now()
    insert_if_absent(session, Lease, name=name, owner=owner, expires_at=utc_now(), created_at=now, updated_at=now)
    take = sa.update(Lease).where(Lease.name == name, Lease.expires_at <= utc_now())
    return rowcount(session, take.values(owner=owner, expires_at=seconds_from_now(int(every_s)), updated_at=now)) == 1


def extend_turn(session: Session, name: str, owner: str, *, every_s: float) -> None:
    """Let the next turn be no earlier than in `every_s` seconds, after the work was done."""
    mine = sa.update(Lease).where(Lease.name == name, Lease.owner == owner)
    session.execute(mine.values(expires_at=seconds_from_now(int(every_s))))


def run_under_lease(session: Session, job: Job, *measured: object, owner: str) -> object:
    """Run the job if no other process holds its lease. Return the result of the work, or None if it did not run."""
    held_s = max(1, int(job.every_s * 0.9))
    now = clock.now()
    insert_if_absent(session, Lease, name=job.name, owner=owner, expires_at=utc_now(), created_at=now, updated_at=now)
    free_or_mine = (Lease.expires_at <= utc_now()) | (Lease.owner == owner)
    take = sa.update(Lease).where(Lease.name == job.name, free_or_mine)
    if rowcount(session, take.values(owner=owner, expires_at=seconds_from_now(held_s), updated_at=now)) == 0:
        return None
    return job.work(session, *measured)
