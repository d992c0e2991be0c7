"""What accounts contribute to the app: sign-in, sessions, tokens, sharing, and the stream of events."""

from datetime import timedelta

from tertulia.accounts import admin_routes, event_routes, events, routes, share_routes
from tertulia.accounts.activity import ActivityRecorder
from tertulia.accounts.caller import Authenticator, ControlToken
from tertulia.accounts.deletion import OwnedData, delete_next_part, has_due_deletion
from tertulia.accounts.idempotency import sweep_idempotency_keys
from tertulia.accounts.revocations import RevocationJournal
from tertulia.accounts.row_limits import RowLimits
from tertulia.accounts.sessions import SessionLifetime, sweep_sessions
from tertulia.accounts.sharing import OpenToMembers, Shareable, Shareables
from tertulia.accounts.streams import OpenStreams
from tertulia.accounts.tokens import hash_token
from tertulia.db import Database
from tertulia.features import Feature, Features
from tertulia.http.body import SignInCheck
from tertulia.http.limits import RateLimits
from tertulia.jobs.service import MORE, Job, Jobs
from tertulia.keyring import KeyRing
from tertulia.realtime.bus import Bus
from tertulia.realtime.entities import Entity
from tertulia.realtime.feed import ChangeFeed
from tertulia.services import Provides, Services
from tertulia.settings import Settings


def feature() -> Feature:
    return Feature(
        "accounts",
        (
            routes.routes,
            admin_routes.routes,
            admin_routes.audit_routes,
            event_routes.routes,
            share_routes.routes,
            Provides(Shareables, _shareables),
            Provides(SessionLifetime, _session_life),
            Provides(Authenticator, _authenticator),
            Provides(SignInCheck, lambda own: own.get(Authenticator)),
            Provides(ActivityRecorder, lambda own: ActivityRecorder(own.get(Database), own.get(Authenticator))),
            Provides(RevocationJournal, lambda own: RevocationJournal(own.get(Database), own.get(Settings).data)),
            Provides(OpenStreams, lambda own: OpenStreams(own.get(Database), own.get(SessionLifetime))),
            Provides(ChangeFeed, _change_feed),
            Provides(RowLimits, lambda own: RowLimits(own.get(Settings).rows_per_user)),
            Jobs(_jobs),
            *events.ENTITIES,
        ),
    )


def _jobs(services: Services) -> list[Job]:
    life = services.get(SessionLifetime)
    owned = sorted(services.get(Features).contributed(OwnedData), key=lambda data: not data.gives_away)
    return [
        Job(
            "delete-accounts", 60, lambda session: MORE if delete_next_part(session, owned) else None, has_due_deletion
        ),
        Job("sweep-sessions", 60, lambda session: sweep_sessions(session, life)),
        Job("sweep-idempotency-keys", 600, sweep_idempotency_keys),
    ]


def _shareables(services: Services) -> Shareables:
    features = services.get(Features)
    return Shareables(features.contributed(Shareable), features.contributed(OpenToMembers))


def _session_life(services: Services) -> SessionLifetime:
    settings = services.get(Settings)
    return SessionLifetime(timedelta(days=settings.session_idle_days), timedelta(days=settings.session_absolute_days))


def _authenticator(services: Services) -> Authenticator:
    settings, control_token = services.get(Settings), services.find(ControlToken)
    return Authenticator(
        services.get(Database),
        services.get(SessionLifetime),
        services.get(KeyRing),
        services.get(RateLimits),
        is_behind_tls=bool(settings.public_url and settings.public_url.startswith("https://")),
        control_token_hash=hash_token(control_token) if control_token else None,
        calls_per_minute=settings.api_calls_per_minute,
    )


def _change_feed(services: Services) -> ChangeFeed:
    shared = [entity.name for entity in services.get(Features).contributed(Entity) if entity.is_shared]
    return ChangeFeed(services.get(Database), services.get(Bus), services.get(Shareables).find_share_expiries, shared)
