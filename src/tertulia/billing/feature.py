"""What billing contributes to the app: usage, quotas and plans."""

from datetime import timedelta

from sqlalchemy.orm import Session

from tertulia import clock
from tertulia.accounts.allowances import Allowances
from tertulia.accounts.deletion import DeletionCheck, OwnedData
from tertulia.accounts.row_limits import StorageQuota
from tertulia.billing import events, routes
from tertulia.billing.counts import find_storage_quota
from tertulia.billing.lost_reservations import LOST_AFTER_S, has_lost_reservations, settle_lost
from tertulia.billing.notices import note_storage
from tertulia.billing.payments import routes as payment_routes
from tertulia.billing.payments.access import end_due_plans
from tertulia.billing.payments.counts import RefusalCounts
from tertulia.billing.payments.polar import Polar
from tertulia.billing.payments.protocol import PaymentProviders, Payments
from tertulia.billing.payments.reconciling import Reconciler
from tertulia.billing.payments.redaction import redact_events
from tertulia.billing.payments.service import check_no_renewal
from tertulia.billing.payments.stripe import Stripe
from tertulia.billing.payments.webhooks import has_unprocessed, process_deliveries
from tertulia.billing.plans import find_allowed, has_due_plan
from tertulia.billing.sums import forget_spender
from tertulia.db import Database
from tertulia.features import Feature
from tertulia.http.clients import OutboundClients
from tertulia.jobs.service import MORE, Job, Jobs, ProcessId
from tertulia.services import Provides, Services
from tertulia.settings import Settings


def feature() -> Feature:
    return Feature(
        "billing",
        (
            *events.ENTITIES,
            routes.routes,
            routes.quota_routes,
            routes.plan_routes,
            payment_routes.routes,
            Jobs(_jobs),
            OwnedData(forget_spender),
            OwnedData(redact_events),
            Provides(DeletionCheck, _deletion_check),
            Provides(Allowances, lambda _: Allowances(find_allowed)),
            Provides(PaymentProviders, _payment_providers),
            Provides(RefusalCounts, lambda services: RefusalCounts(services.get(Database))),
            Provides(Reconciler, _reconciler),
            Provides(StorageQuota, lambda _: StorageQuota(find_storage_quota, note_storage)),
        ),
    )


def _jobs(services: Services) -> list[Job]:
    providers = services.get(PaymentProviders)
    grace = timedelta(days=services.get(Settings).payment_grace_days)

    def process(session: Session) -> object:
        return MORE if process_deliveries(session, providers, grace=grace) else None

    return [
        Job("settle-lost-reservations", 60, _settle_lost, _has_lost),
        Job("end-plans", 2, lambda session: end_due_plans(session, grace=grace), has_due_plan),
        Job("process-webhooks", 1, process, has_unprocessed, pause_s=0.02),
    ]


def _deletion_check(services: Services) -> DeletionCheck:
    providers = services.get(PaymentProviders)
    grace = timedelta(days=services.get(Settings).payment_grace_days)
    return DeletionCheck(lambda session, actor: check_no_renewal(session, actor, providers, grace=grace))


def _payment_providers(services: Services) -> PaymentProviders:
    """Return the payment providers with a secret or a token."""
    settings, client = services.get(Settings), services.get(OutboundClients).operator
    polar = Polar(client, settings.polar_url, settings.polar_access_token, settings.polar_webhook_secrets)
    stripe = Stripe(client, settings.stripe_url, settings.stripe_access_token, settings.stripe_webhook_secrets)
    set_up: dict[str, Payments] = {}
    if settings.polar_access_token or settings.polar_webhook_secrets:
        set_up[polar.source] = polar
    if settings.stripe_access_token or settings.stripe_webhook_secrets:
        set_up[stripe.source] = stripe
    return PaymentProviders(set_up)


def _reconciler(services: Services) -> Reconciler:
    return Reconciler(services.get(Database), services.get(PaymentProviders), services.get(ProcessId))


def _has_lost(session: Session) -> bool:
    return has_lost_reservations(session, clock.now() - timedelta(seconds=LOST_AFTER_S))


def _settle_lost(session: Session) -> int:
    return settle_lost(session, clock.now() - timedelta(seconds=LOST_AFTER_S))
