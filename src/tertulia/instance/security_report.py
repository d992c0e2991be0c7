"""What the administrator should know about the security of the instance."""

import platform
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from tertulia import __version__, clock
from tertulia.accounts.actor import Actor, require_admin
from tertulia.accounts.models import ApiToken, AuditLog, User
from tertulia.accounts.sessions import REFUSED
from tertulia.instance.advisories import Vulnerability, find_vulnerabilities, installed_packages, load_advisories
from tertulia.instance.errors import AdvisoriesUnavailable
from tertulia.settings import Settings, environment_name
from tertulia.transfer.backup_record import BackupNote, read_backup_record

UNUSED = timedelta(days=90)
FAILED = timedelta(days=30)
MAX_LISTED = 50
LIMITS = (
    "messages_per_day",
    "messages_per_minute",
    "chats_per_user",
    "drafts_per_user",
    "files_per_user",
    "storage_per_user_mib",
    "exports_at_once",
    "runs_at_once",
    "api_calls_per_minute",
    "session_idle_days",
    "session_absolute_days",
    "trash_days",
    "outbound_allow",
)


class ChangedLimit(TypedDict):
    """A limit that the operator changed, by the name of its setting."""

    setting: str
    value: str
    default: str


class UnusedTokens(TypedDict):
    """How many tokens of a user were not used for 90 days, and when the latest of them was used."""

    username: str
    count: int
    last_used_at: datetime | None


class FailedAccount(TypedDict):
    """Wrong passwords for an account in the last 30 days."""

    username: str
    count: int
    last_at: datetime


class KnownVulnerabilities(TypedDict):
    """Vulnerabilities of installed packages, and when the advisories were stored. None: never, or unreadable."""

    refreshed_at: datetime | None
    source: str | None
    problem: str | None
    packages: int
    affected: list[Vulnerability]


class SecurityReport(TypedDict):
    """The security of the instance. `exposure` says who can reach it, and whether over TLS."""

    version: str
    python_version: str
    database: Literal["sqlite", "postgresql"]
    exposure: Literal["this_machine", "tls", "without_tls"]
    vulnerabilities: KnownVulnerabilities
    changed_limits: list[ChangedLimit]
    unused_tokens: list[UnusedTokens]
    failed_sign_ins: list[FailedAccount]
    last_backup: BackupNote | None
    last_tested_restore: BackupNote | None


class StoredParts(TypedDict):
    """The part of the report that is in the database."""

    unused_tokens: list[UnusedTokens]
    failed_sign_ins: list[FailedAccount]


def read_stored_parts(session: Session, actor: Actor) -> StoredParts:
    """Return unused tokens and failed sign-ins, at most 50 accounts of each. Raises AdminOnly."""
    require_admin(actor)
    now = clock.now()
    used_at = sa.func.coalesce(ApiToken.last_used_at, ApiToken.created_at)
    count = sa.func.count().label("count")
    tokens = session.execute(
        sa.select(User.username, count, sa.func.max(ApiToken.last_used_at))
        .join(User, User.id == ApiToken.user_id)
        .where(
            ApiToken.revoked_at.is_(None),
            sa.or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now),
            used_at < now - UNUSED,
        )
        .group_by(User.username)
        .order_by(count.desc(), User.username)
        .limit(MAX_LISTED)
    ).all()
    failed = session.execute(
        sa.select(User.username, count, sa.func.max(AuditLog.created_at))
        .join(User, User.id == AuditLog.user_id)
        .where(AuditLog.action == REFUSED, AuditLog.created_at > now - FAILED)
        .group_by(User.username)
        .order_by(count.desc(), User.username)
        .limit(MAX_LISTED)
    ).all()
    return {
        "unused_tokens": [
            {"username": name, "count": number, "last_used_at": used_at} for name, number, used_at in tokens
        ],
        "failed_sign_ins": [{"username": name, "count": number, "last_at": last} for name, number, last in failed],
    }


def make_report(settings: Settings, stored: StoredParts) -> SecurityReport:
    """Add what the settings and the data folder say. Reads files, so not for the event loop."""
    record = read_backup_record(settings.data)
    return {
        "version": __version__,
        "python_version": platform.python_version(),
        "database": "sqlite" if settings.sqlite_path else "postgresql",
        "exposure": exposure_of(settings),
        "vulnerabilities": _vulnerabilities(settings),
        "changed_limits": changed_limits(settings),
        "last_backup": record.get("last_backup"),
        "last_tested_restore": record.get("last_tested_restore"),
        **stored,
    }


def exposure_of(settings: Settings) -> Literal["this_machine", "tls", "without_tls"]:
    """Return who can reach the server. TLS ends at a proxy, which the public URL names."""
    if settings.public_url is not None:
        return "tls" if settings.public_url.startswith("https://") else "without_tls"
    return "this_machine" if _is_loopback(settings.host) else "without_tls"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def changed_limits(settings: Settings) -> list[ChangedLimit]:
    defaults = Settings.model_construct()
    return [
        {
            "setting": environment_name(name),
            "value": _text(getattr(settings, name)),
            "default": _text(getattr(defaults, name)),
        }
        for name in LIMITS
        if getattr(settings, name) != getattr(defaults, name)
    ]


def _vulnerabilities(settings: Settings) -> KnownVulnerabilities:
    installed = installed_packages()
    try:
        stored = load_advisories(settings.data)
        problem = None
    except AdvisoriesUnavailable as error:
        stored, problem = None, str(error)
    return {
        "refreshed_at": stored.refreshed_at if stored else None,
        "source": stored.source if stored else None,
        "problem": problem,
        "packages": len(installed),
        "affected": find_vulnerabilities(stored, installed) if stored else [],
    }


def _text(value: object) -> str:
    if value is None:
        return "no limit"
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
