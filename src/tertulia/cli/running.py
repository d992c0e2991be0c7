"""Do the work of a command here, or let the running server do it that alone may write."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import httpx
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tertulia.accounts.actor import OPERATOR_ID, Actor
from tertulia.accounts.models import User, UserRole
from tertulia.accounts.names import name_key
from tertulia.accounts.revocations import RevocationJournal
from tertulia.clock import now
from tertulia.data_folder import DataFolderInUse, RunningServer, locked_data_folder
from tertulia.db.migrate import State, upgrade_schema
from tertulia.db.opening import open_database
from tertulia.errors import AppError, SettingsError
from tertulia.settings import Settings
from tertulia.transfer.backup import back_up

OPERATOR = Actor(OPERATOR_ID, UserRole.ADMIN)
T = TypeVar("T")


class CommandRefused(AppError):
    """The running server refused a command."""


def upgrade(settings: Settings) -> State:
    """Migrate the schema, with a backup first. Return the state before."""
    return upgrade_schema(settings, now=now(), back_up=lambda path: back_up(settings, path, now=now()))


def write_or_ask(
    settings: Settings,
    work: Callable[[Session], T],
    method: str,
    path: str,
    read: Callable[[Any], T] | None = None,
    *,
    body: object = None,
) -> T | None:
    """Run `work`, or call the running server with `method`, `path` and `body`, and `read` its answer."""
    try:
        return write_here(settings, work)
    except DataFolderInUse as in_use:
        if in_use.running is None:
            raise
        answer = _ask_server(in_use.running, method, path, body)
        return read(answer) if read else None


def write_here(settings: Settings, work: Callable[[Session], T]) -> T:
    """Run `work` in this process. Raises DataFolderInUse while a server has the data folder."""
    with locked_data_folder(settings):
        upgrade(settings)
        return asyncio.run(_write(settings, work))


async def _write(settings: Settings, work: Callable[[Session], T]) -> T:
    db = open_database(settings)
    RevocationJournal(db, settings.data)
    await db.start()
    try:
        return await db.write(work)
    finally:
        await db.close()


def _ask_server(running: RunningServer, method: str, path: str, body: object) -> Any:
    answer = httpx.request(
        method,
        f"{running.address}/api/v1{path}",
        json=body,
        headers={"Authorization": f"Bearer {running.control_token}", "X-Tertulia": "1"},
        trust_env=False,
        timeout=30,
    )
    if answer.status_code >= httpx.codes.MULTIPLE_CHOICES:
        raise CommandRefused(answer.json().get("detail", "The server refused the command."))
    return answer.json() if answer.content else None


def find_user_id(session: Session, username: str) -> str:
    """Return the id of a user. Raises SettingsError."""
    user_id = session.scalar(sa.select(User.id).where(User.username_key == name_key(username)))
    if user_id is None:
        raise SettingsError(f"There is no user {username}.")
    return user_id
