"""`tertulia`: serve, look after the database, make users. Exit codes: 0 done, 1 found or failed, 2 wrong settings."""

import asyncio
import os
import sys
from typing import Annotated

import httpx
import typer

from tertulia import __version__
from tertulia.accounts.actor import OPERATOR_ID, Actor
from tertulia.accounts.models import UserRole
from tertulia.accounts.passwords import check_password, hash_password
from tertulia.accounts.schemas import UserCreate
from tertulia.accounts.service import create_user
from tertulia.chat.counters import find_wrong_counters
from tertulia.clock import now
from tertulia.db.check import check_database
from tertulia.db.migrate import upgrade_schema
from tertulia.db.opening import open_database, plain_engine
from tertulia.errors import AppError, SettingsError
from tertulia.runs.counters import find_wrong_totals
from tertulia.server import DataFolderInUse, Running, locked_data_folder, serve
from tertulia.settings import Settings, load_settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="A self-hosted AI workspace.",
    pretty_exceptions_enable=False,
)
db_app = typer.Typer(no_args_is_help=True, help="The database: bring it to this version, and check it.")
user_app = typer.Typer(no_args_is_help=True, help="The people who may sign in.")
app.add_typer(db_app, name="db")
app.add_typer(user_app, name="user")


@app.command("serve")
def serve_command() -> None:
    """Start the server and say its address; Ctrl-C stops it. Settings: docs/reference/settings.md."""
    serve(load_settings())


@app.command("version")
def version_command() -> None:
    """Say which version this is."""
    typer.echo(__version__)


@db_app.command("upgrade")
def db_upgrade() -> None:
    """Bring the schema to this program's version; a backup is made first. The server does this by itself at its start."""
    settings = load_settings()
    with locked_data_folder(settings):
        found = upgrade_schema(settings, now=now())
    typer.echo("The schema is current." if found == "current" else f"Done: the schema was {found}, and is current now.")


@db_app.command("check")
def db_check() -> None:
    """Look for faults: foreign keys, indexes, counters, SQLite's own check. Exits with 1 if there is one."""
    settings = load_settings()
    engine = plain_engine(settings, writes=False)
    try:
        report = check_database(engine, [find_wrong_counters, find_wrong_totals])
    finally:
        engine.dispose()
    for note in report.notes:
        typer.echo(f"Note: {note}")
    for finding in report.findings:
        typer.echo(f"Fault: {finding}")
    typer.echo("No faults." if not report.findings else f"{len(report.findings)} faults.")
    raise typer.Exit(1 if report.findings else 0)


@user_app.command("create")
def user_create(
    username: Annotated[str, typer.Argument(help="1 to 50 of a-z, 0-9, dot, underscore, hyphen.")],
    name: Annotated[str, typer.Option(help="What the person is called.")] = "",
    email: Annotated[str | None, typer.Option(help="Their e-mail address.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="They may manage other users.")] = False,
) -> None:
    """Make an account; the password is asked for, or read from standard input."""
    settings = load_settings()
    password = (
        typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        if sys.stdin.isatty()
        else sys.stdin.readline().rstrip("\n")
    )
    role = UserRole.ADMIN if admin else UserRole.USER
    account = UserCreate(username=username, name=name or username, password=password, email=email, role=role)
    try:
        with locked_data_folder(settings):
            upgrade_schema(settings, now=now())
            asyncio.run(_create_user(settings, account))
    except DataFolderInUse as busy:
        # The server is the only writer, so it writes for us.
        if busy.running is None:
            raise
        _ask_server(busy.running, account)
    typer.echo(f"{username} can sign in now.")


async def _create_user(settings: Settings, account: UserCreate) -> None:
    check_password(account.password, names=(account.username, account.name, account.email or ""))
    password_hash = await hash_password(account.password)
    db = open_database(settings)
    await db.start()
    try:
        operator = Actor(OPERATOR_ID, UserRole.ADMIN)
        await db.write(create_user, account, password_hash=password_hash, actor=operator)
    finally:
        await db.close()


def _ask_server(running: Running, account: UserCreate) -> None:
    answer = httpx.post(
        f"{running.address}/api/v1/users",
        json=account.model_dump(mode="json"),
        headers={"Authorization": f"Bearer {running.control_token}", "X-Tertulia": "1"},
        trust_env=False,
        timeout=30,
    )
    if answer.status_code != 201:
        raise SettingsError(answer.json().get("detail", "The server refused."))


def main() -> None:
    try:
        app()
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if not isinstance(error, DataFolderInUse) else 1)
    except AppError as error:
        print(error.detail, file=sys.stderr)
        sys.exit(1)
    except ValueError as error:  # what pydantic says of a wrong argument
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        os._exit(130)
