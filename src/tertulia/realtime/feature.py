"""What live updates contribute to the app: the bus between processes, and the pruning of old changes."""

from datetime import timedelta

from tertulia.clock import now
from tertulia.db import Database
from tertulia.features import Feature
from tertulia.jobs.service import Job, Jobs
from tertulia.realtime.bus import Bus, open_bus
from tertulia.realtime.queries import prune_changes
from tertulia.services import Provides, Services
from tertulia.settings import Settings


def feature() -> Feature:
    return Feature(
        "realtime",
        (Provides(Bus, lambda own: open_bus(own.get(Settings), own.get(Database))), Jobs(_jobs)),
    )


def _jobs(services: Services) -> list[Job]:
    kept = timedelta(days=services.get(Settings).change_days)
    return [Job("prune-changes", 600, lambda session: prune_changes(session, now() - kept))]
