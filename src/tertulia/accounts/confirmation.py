"""Require for sensitive actions that the password was entered in this session within the last ten minutes."""

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session as DbSession

from tertulia import clock
from tertulia.accounts.actor import Actor, SignInNeeded
from tertulia.accounts.errors import ConfirmationNeeded
from tertulia.accounts.models import Session

FRESH = timedelta(minutes=10)


def require_confirmed(session: DbSession, actor: Actor) -> None:
    """Raise ConfirmationNeeded if the password is too old. For an API token, which has no password, SignInNeeded."""
    if actor.session_id is None:
        raise SignInNeeded
    moments = session.execute(
        sa.select(Session.started_at, Session.confirmed_at).where(Session.id == actor.session_id)
    ).one()
    newest = max(moment for moment in moments if moment is not None)
    if clock.now() - newest >= FRESH:
        raise ConfirmationNeeded


def confirm(session: DbSession, actor: Actor) -> None:
    """Record that the password was entered again. The caller has verified it."""
    session.execute(sa.update(Session).where(Session.id == actor.session_id).values(confirmed_at=clock.now()))
