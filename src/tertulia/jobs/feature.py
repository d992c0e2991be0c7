"""What periodic work contributes to the app: the scheduler that runs the jobs of all features."""

from tertulia.db import Database
from tertulia.features import Feature, Features
from tertulia.ids import new_id
from tertulia.jobs.service import Jobs, ProcessId, Scheduler
from tertulia.services import Provides, Services


def feature() -> Feature:
    return Feature(
        "jobs",
        (
            Provides(ProcessId, lambda _: ProcessId(new_id()[-12:])),
            Provides(Scheduler, _scheduler),
        ),
    )


def _scheduler(services: Services) -> Scheduler:
    jobs = [job for jobs in services.get(Features).contributed(Jobs) for job in jobs.make(services)]
    return Scheduler(services.get(Database), services.get(ProcessId), jobs)
