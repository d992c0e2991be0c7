"""`tertulia`: serve, look after the database and its secrets, make users. Exit codes: 0 done, 1 found or failed, 2 wrong settings."""

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import httpx
import sqlalchemy as sa
import typer
from sqlalchemy.orm import Session

from tertulia import __version__
from tertulia.accounts.actor import OPERATOR_ID, Actor
from tertulia.accounts.administration import deactivate_user, reset_password
from tertulia.accounts.models import User, UserRole
from tertulia.accounts.passwords import check_password, hash_password
from tertulia.accounts.schemas import UserCreate
from tertulia.accounts.service import create_user, name_key
from tertulia.chat.counters import find_wrong_counters, find_wrong_totals
from tertulia.clock import now
from tertulia.data_folder import DataFolderInUse, Running, locked_data_folder
from tertulia.db.check import check_database
from tertulia.db.migrate import State, upgrade_schema
from tertulia.db.opening import open_database, plain_engine
from tertulia.errors import AppError, SettingsError
from tertulia.exports import Exportable
from tertulia.features import Features, discover_features
from tertulia.files.store import FileStore
from tertulia.ids import UserId, new_id
from tertulia.keyring import (
    UnknownKey,
    add_primary_key,
    find_keyring,
    keep_only_primary,
    open_keyring,
    ring_path,
)
from tertulia.providers.book import refresh_catalogue
from tertulia.sealed import list_key_ids, require_keys, rewrap_secrets
from tertulia.settings import Settings, load_settings
from tertulia.transfer.backup import back_up, restore
from tertulia.transfer.everything import export_everything
from tertulia.transfer.importer import Importer
from tertulia.transfer.imports import claim_import, create_import, find_import
from tertulia.transfer.models import ImportJob

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="A self-hosted AI workspace.",
    pretty_exceptions_enable=False,
)
RECOUNTS = (find_wrong_counters, find_wrong_totals)
OPERATOR = Actor(OPERATOR_ID, UserRole.ADMIN)
T = TypeVar("T")
db_app = typer.Typer(no_args_is_help=True, help="The database: bring it to this version, and check it.")
user_app = typer.Typer(no_args_is_help=True, help="The people who may sign in.")
keys_app = typer.Typer(no_args_is_help=True, help="The key ring that stored secrets are sealed with.")
models_app = typer.Typer(no_args_is_help=True, help="The catalogue of models.")
app.add_typer(keys_app, name="keys")
app.add_typer(models_app, name="models")
app.add_typer(db_app, name="db")
app.add_typer(user_app, name="user")


@app.command("serve")
def serve_command() -> None:
    """Start the server and say its address; Ctrl-C stops it. Settings: docs/reference/settings.md."""
    from tertulia.server import serve  # half of what any other command would take to start

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
        found = upgrade(settings)
    typer.echo("The schema is current." if found == "current" else f"Done: the schema was {found}, and is current now.")


@db_app.command("check")
def db_check() -> None:
    """Look for faults: foreign keys, indexes, counters, SQLite's own check; says sizes. Exits with 1 if there is a fault."""
    settings = load_settings()
    engine = plain_engine(settings, writes=False)
    try:
        report = check_database(engine, RECOUNTS)
    finally:
        engine.dispose()
    for note in report.notes:
        typer.echo(f"Note: {note}")
    for finding in report.findings:
        typer.echo(f"Fault: {finding}")
    typer.echo("No faults." if not report.findings else f"{len(report.findings)} faults.")
    raise typer.Exit(1 if report.findings else 0)


@app.command("backup")
def backup_command(
    path: Annotated[Path, typer.Argument(help="The file to write, such as tertulia-2026-11-22.zip.")],
) -> None:
    """Write everything to one file and verify it; the server may go on. The key ring is not in it: keep that elsewhere."""
    summary = back_up(load_settings(), path, now=now())
    typer.echo(
        f"{path}: {sum(summary.rows.values())} rows of {len(summary.rows)} tables, {summary.files} files, verified."
    )


@app.command("restore")
def restore_command(path: Annotated[Path, typer.Argument(help="A file that `tertulia backup` wrote.")]) -> None:
    """Fill an empty instance from a backup, of this version or an older one, from either kind of database; then check it."""
    settings = load_settings()
    with locked_data_folder(settings):
        summary = restore(settings, path, RECOUNTS, now=now())
        engine = plain_engine(settings, writes=False)
        try:
            require_keys(engine, find_keyring(settings.secret_keys, settings.data))
        except UnknownKey:
            typer.echo("Note: the provider keys in it need the key ring that they were sealed with. Bring it too.")
        finally:
            engine.dispose()
    typer.echo(
        f"Restored {sum(summary.rows.values())} rows and {summary.files} files of {summary.made_at:%Y-%m-%d %H:%M}."
    )


@app.command("export")
def export_command(
    username: Annotated[str, typer.Argument(help="Whose chats.")],
    path: Annotated[Path, typer.Argument(help="The zip file to write; it must not exist yet.")],
) -> None:
    """Write everything that one person said to a file that any Tertulia imports. May run beside the server."""
    settings = load_settings()
    if path.exists():
        raise SettingsError(f"{path} exists already. Choose another name.")

    exportables = Features(discover_features()).contributed(Exportable)

    async def write() -> None:
        engine = plain_engine(settings, writes=False)
        with Session(engine) as session:
            user_id = _user_id(session, username)

            async def read(work: Callable[..., Any], *args: Any) -> Any:
                return work(session, *args)

            partial = path.with_name(f"{path.name}.partial")
            try:
                with partial.open("xb") as file:
                    owner = Actor(UserId(user_id), UserRole.USER)
                    async for piece in export_everything(read, FileStore(settings), exportables, actor=owner):
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                partial.rename(path)
            finally:
                partial.unlink(missing_ok=True)
        engine.dispose()

    asyncio.run(write())
    typer.echo(f"{path} has everything of {username}.")


@app.command("import")
def import_command(
    username: Annotated[str, typer.Argument(help="Whose chats they become.")],
    path: Annotated[Path, typer.Argument(help="An export of ChatGPT, Claude, Open WebUI, LibreChat or Tertulia.")],
) -> None:
    """Take the chats of an export. The server hands it over: on SQLite it must not run meanwhile."""
    settings = load_settings()
    if not path.is_file():
        raise SettingsError(f"There is no file {path}.")
    with locked_data_folder(settings) if settings.sqlite_path else nullcontext():
        job = asyncio.run(_import(settings, username, path, path.stat().st_size))
    report = job.report
    typer.echo(
        f"{report.chats} chats with {report.messages} messages, {report.files} files and {report.drafts} drafts were taken, "
        f"{report.already_there} were there already, {report.refused} could not be taken."
    )
    for problem in report.problems:
        typer.echo(f"  {problem}")
    if job.error:
        typer.echo(job.error, err=True)
        raise typer.Exit(1)


@app.command("demo")
def demo_command(username: Annotated[str, typer.Argument(help="Who gets it.")]) -> None:
    """Give somebody sample chats to look around in; like any import they are undone as a whole. On SQLite the server must not run."""
    settings = load_settings()
    with (
        resources.as_file(resources.files("tertulia.demo") / "chats.json") as path,
        locked_data_folder(settings) if settings.sqlite_path else nullcontext(),
    ):
        job = asyncio.run(_import(settings, username, path, path.stat().st_size))
    typer.echo(f"{username} has {job.report.chats} sample chats. They are taken back under Settings, Data.")


async def _import(settings: Settings, username: str, path: Path, size: int) -> ImportJob:
    db = open_database(settings)
    await db.start()
    try:
        folder = settings.data / "imports"
        folder.mkdir(parents=True, exist_ok=True)
        job_id = new_id()
        shutil.copyfile(path, folder / job_id)
        importer = Importer(db, FileStore(settings), folder, limit_bytes=settings.storage_per_user_mib * 2**20)
        user_id = await db.read(_user_id, username)
        await db.write(
            create_import,
            Actor(UserId(user_id), UserRole.USER),
            job_id,
            file_name=path.name[:255],
            path=job_id,
            size=size,
        )
        claimed = await db.write(claim_import, [job_id])
        if claimed is not None:  # else a server beside has it already, and takes it
            await importer.run(claimed)
        while (job := await db.read(find_import, job_id)).ended_at is None:  # noqa: ASYNC110 - another process ends it
            await asyncio.sleep(0.5)
        return job
    finally:
        await db.close()


def _user_id(session: Session, username: str) -> str:
    found = session.scalar(sa.select(User.id).where(User.username_key == name_key(username)))
    if found is None:
        raise SettingsError(f"There is nobody called {username}.")
    return found


@keys_app.command("rotate")
def keys_rotate(
    forget: Annotated[
        bool, typer.Option("--forget-old", help="Drop the old keys when all is under the new one.")
    ] = False,
) -> None:
    """Seal every stored secret anew. With a ring in a file a new key is made; with TERTULIA_SECRET_KEYS put it first yourself.

    It can be stopped at any point and run again: old keys open what they sealed until they are forgotten.
    """
    settings = load_settings()
    with locked_data_folder(settings):
        upgrade(settings)
        ring = open_keyring(settings.secret_keys, settings.data)
        engine = plain_engine(settings)
        try:
            require_keys(engine, ring)
            if not settings.secret_keys:
                ring = add_primary_key(ring_path(settings.data))
            done = rewrap_secrets(engine, ring, lambda count: typer.echo(f"{count} secrets done"))
        finally:
            engine.dispose()
    typer.echo(f"Done: {done} secrets are under the key {ring.key_ids[0]}.")
    typer.echo("Restart the servers of this database; then `tertulia keys forget` drops the old keys.")


@keys_app.command("forget")
def keys_forget() -> None:
    """Drop the old keys of a ring in a file, once nothing is sealed with them and every server was restarted."""
    settings = load_settings()
    with locked_data_folder(settings):
        if settings.secret_keys:
            raise SettingsError("The ring is in TERTULIA_SECRET_KEYS: take the old keys out of it yourself.")
        ring = open_keyring(None, settings.data)
        engine = plain_engine(settings, writes=False)
        try:
            with Session(engine) as session:
                old = list_key_ids(session) - {ring.key_ids[0]}
        finally:
            engine.dispose()
        if old:
            raise SettingsError("Some secrets are still sealed with an old key. Run `tertulia keys rotate` first.")
        keep_only_primary(ring_path(settings.data))
    typer.echo(f"The ring has one key now: {ring.key_ids[0]}.")


@models_app.command("refresh")
def models_refresh() -> None:
    """Write the catalogue of models anew from what this version knows: windows, prices, abilities."""
    settings = load_settings()

    def refresh(session: Session) -> int:
        return refresh_catalogue(session, is_forced=True)

    count = _write_or_ask(settings, refresh, "POST", "/operator/models/refresh", lambda answer: int(answer["models"]))
    typer.echo(f"{count} models.")


@user_app.command("create")
def user_create(
    username: Annotated[str, typer.Argument(help="1 to 50 of a-z, 0-9, dot, underscore, hyphen.")],
    name: Annotated[str, typer.Option(help="What the person is called.")] = "",
    email: Annotated[str | None, typer.Option(help="Their e-mail address.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="They may manage other users.")] = False,
) -> None:
    """Make an account; the password is asked for, or read from standard input."""
    role = UserRole.ADMIN if admin else UserRole.USER
    account = UserCreate(username=username, name=name or username, password=_ask_password(), email=email, role=role)
    check_password(account.password, names=(account.username, account.name, account.email or ""))
    password_hash = asyncio.run(hash_password(account.password))

    def create(session: Session) -> object:
        return create_user(session, OPERATOR, account, password_hash=password_hash)

    _write_or_ask(load_settings(), create, "POST", "/users", body=account.model_dump(mode="json"))
    typer.echo(f"{username} can sign in now.")


@user_app.command("reset-password")
def user_reset_password(username: Annotated[str, typer.Argument(help="Whose password.")]) -> None:
    """Set another password, asked for or read from standard input; every device and API token of theirs is signed out."""
    password = _ask_password()
    check_password(password, names=(username,))
    new_hash = asyncio.run(hash_password(password))

    def reset(session: Session) -> object:
        return reset_password(session, OPERATOR, username, new_hash=new_hash)

    path = f"/operator/users/{quote(username, safe='')}/password"
    _write_or_ask(load_settings(), reset, "POST", path, body={"password": password})
    typer.echo(f"{username} has the new password, and is signed out everywhere.")


@user_app.command("deactivate")
def user_deactivate(username: Annotated[str, typer.Argument(help="Who may not sign in any more.")]) -> None:
    """End every sign-in of a person and let them in no more; what they wrote stays. An administrator can activate them again."""

    def deactivate(session: Session) -> object:
        return deactivate_user(session, OPERATOR, username)

    _write_or_ask(load_settings(), deactivate, "POST", f"/operator/users/{quote(username, safe='')}/deactivate")
    typer.echo(f"{username} is signed out, and cannot sign in.")


def _ask_password() -> str:
    if sys.stdin.isatty():
        password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        return password
    return sys.stdin.readline().rstrip("\n")


def upgrade(settings: Settings) -> State:
    return upgrade_schema(settings, now=now(), back_up=lambda path: back_up(settings, path, now=now()))


def _write_or_ask(
    settings: Settings,
    work: Callable[[Session], T],
    method: str,
    path: str,
    read: Callable[[Any], T] | None = None,
    *,
    body: object = None,
) -> T | None:
    """Do the work here, or, where a server is running that alone may write, have it done by that server."""
    try:
        with locked_data_folder(settings):
            upgrade(settings)
            return asyncio.run(_write(settings, work))
    except DataFolderInUse as busy:
        if busy.running is None:
            raise
        answer = _ask_server(busy.running, method, path, body)
        return read(answer) if read else None


async def _write(settings: Settings, work: Callable[[Session], T]) -> T:
    db = open_database(settings)
    await db.start()
    try:
        return await db.write(work)
    finally:
        await db.close()


def _ask_server(running: Running, method: str, path: str, body: object) -> Any:
    answer = httpx.request(
        method,
        f"{running.address}/api/v1{path}",
        json=body,
        headers={"Authorization": f"Bearer {running.control_token}", "X-Tertulia": "1"},
        trust_env=False,
        timeout=30,
    )
    if answer.status_code >= 300:
        raise CommandRefused(answer.json().get("detail", "The server refused."))
    return answer.json()


class CommandRefused(AppError):
    """What the running server said to a command of ours."""


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
