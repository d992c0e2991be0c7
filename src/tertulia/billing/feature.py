"""What billing contributes to the app: usage, quotas and plans."""

from datetime import timedelta

from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.allowances import Allowances
from tertulia.accounts.row_limits import StorageQuota
from tertulia.billing import events, ledger, routes
from tertulia.billing.counts import find_storage_quota
from tertulia.billing.plans import find_allowed
from tertulia.features import Feature
from tertulia.jobs.service import Job, Jobs
from tertulia.services import Provides, Services


def feature() -> Feature:
    return Feature(
        "billing",
        (
            *events.ENTITIES,
            routes.routes,
            routes.quota_routes,
            routes.plan_routes,
            Jobs(_jobs),
            Provides(Allowances, lambda _: Allowances(find_allowed)),
            Provides(StorageQuota, lambda _: StorageQuota(find_storage_quota)),
        ),
    )


def _jobs(_: Services) -> list[Job]:
    return [Job("settle-lost-reservations", 60, _settle_lost, _has_lost)]


def _has_lost(session: Session) -> bool:
    return ledger.has_lost_reservations(session, clock.now() - timedelta(seconds=ledger.LOST_AFTER_S))


def _settle_lost(session: Session) -> int:
    return ledger.settle_lost(session, clock.now() - timedelta(seconds=ledger.LOST_AFTER_S))
