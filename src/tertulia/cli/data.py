"""`tertulia export`, `import` and `demo`: the data of one user."""

import asyncio
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from tertulia.accounts.actor import Actor
from tertulia.accounts.models import Preferences, User, UserRole
from tertulia.accounts.passwords import hash_password
from tertulia.accounts.row_limits import RowLimits, StorageLimit, StorageQuota
from tertulia.accounts.schemas import UserCreate
from tertulia.accounts.service import create_user
from tertulia.billing.counts import find_storage_quota
from tertulia.billing.notices import note_storage
from tertulia.cli.running import OPERATOR, find_user_id, write_here
from tertulia.data_folder import locked_data_folder
from tertulia.db.opening import open_database, plain_engine
from tertulia.errors import SettingsError
from tertulia.exports import Exportable
from tertulia.features import Features, discover_features
from tertulia.files.queries import used_bytes
from tertulia.files.store import FileStore
from tertulia.ids import UserId, new_id
from tertulia.settings import Settings, load_settings
from tertulia.transfer.everything import export_everything
from tertulia.transfer.importer import Importer
from tertulia.transfer.imports import claim_import, create_import, find_import
from tertulia.transfer.models import ImportJob


def export_command(
    username: Annotated[str, typer.Argument(help="The user whose data is exported.")],
    path: Annotated[Path, typer.Argument(help="The zip file to write. It must not exist.")],
) -> None:
    """Export all chats, drafts and files of a user as a zip that Tertulia can import. The server may run."""
    if path.exists():
        raise SettingsError(f"{path} already exists. Choose another name.")
    asyncio.run(_export(load_settings(), username, path))
    typer.echo(f"{path} contains all data of {username}.")


async def _export(settings: Settings, username: str, path: Path) -> None:
    exportables = Features(discover_features()).contributed(Exportable)
    engine = plain_engine(settings, writes=False)
    partial = path.with_name(f"{path.name}.partial")
    with Session(engine) as session:

        async def read(work: Callable[..., Any], *args: Any) -> Any:
            return work(session, *args)

        owner = Actor(UserId(find_user_id(session, username)), UserRole.USER)
        try:
            with partial.open("xb") as file:
                async for piece in export_everything(read, FileStore(settings), exportables, actor=owner):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)
    engine.dispose()


def import_command(
    username: Annotated[str, typer.Argument(help="The user who gets the data.")],
    path: Annotated[Path, typer.Argument(help="An export of ChatGPT, Claude, Open WebUI, LibreChat or Tertulia.")],
) -> None:
    """Import an export. On SQLite the server must not run; use *Settings → Data* there instead."""
    settings = load_settings()
    if not path.is_file():
        raise SettingsError(f"There is no file {path}.")
    with locked_data_folder(settings) if settings.sqlite_path else nullcontext():
        job = asyncio.run(_import(settings, username, path, path.stat().st_size))
    report = job.report
    typer.echo(
        f"Imported {report.chats} chats with {report.messages} messages, {report.files} files and {report.drafts} drafts. "
        f"{report.already_there} already existed, {report.refused} could not be imported."
    )
    for problem in report.problems:
        typer.echo(f"  {problem}")
    if job.error:
        typer.echo(job.error, err=True)
        raise typer.Exit(1)


SAMPLE = "sample"
SAMPLE_PREFERENCES = Preferences(theme="dark", default_model="openai/gpt-4", enable_notifications=True)


def demo_command(
    username: Annotated[
        str | None, typer.Argument(help="The user who gets the chats; without it, a new user `sample`.")
    ] = None,
) -> None:
    """Import sample chats. They can be undone as a whole, like every import. On SQLite the server must not run."""
    settings = load_settings()
    if username is None:
        password = secrets.token_urlsafe(12)
        password_hash = asyncio.run(hash_password(password))
        write_here(settings, lambda session: _create_sample_user(session, password, password_hash))
        typer.echo(f"The user {SAMPLE} can sign in with the password {password}")
    owner = username or SAMPLE
    with (
        resources.as_file(resources.files("tertulia.demo") / "chats.json") as path,
        locked_data_folder(settings) if settings.sqlite_path else nullcontext(),
    ):
        job = asyncio.run(_import(settings, owner, path, path.stat().st_size))
    if job.error:
        typer.echo(job.error, err=True)
        raise typer.Exit(1)
    typer.echo(f"{owner} has {job.report.chats} sample chats. Undo the import under Settings, Data.")


def _create_sample_user(session: Session, password: str, password_hash: str) -> None:
    account = UserCreate(username=SAMPLE, name="Sample User", email="sample@example.com", password=password)
    user = create_user(session, OPERATOR, account, password_hash=password_hash)
    session.get_one(User, user["id"]).preferences = SAMPLE_PREFERENCES


async def _import(settings: Settings, username: str, path: Path, size: int) -> ImportJob:
    db = open_database(settings)
    await db.start()
    try:
        folder = settings.imports_folder
        folder.mkdir(parents=True, exist_ok=True)
        job_id = new_id()
        shutil.copyfile(path, folder / job_id)
        limits = RowLimits(settings.rows_per_user)
        importer = Importer(
            db,
            FileStore(settings),
            folder,
            limits,
            storage=StorageLimit(
                settings.storage_per_user_bytes, used_bytes, StorageQuota(find_storage_quota, note_storage)
            ),
        )
        owner = Actor(UserId(await db.read(find_user_id, username)), UserRole.USER)
        await db.write(create_import, owner, job_id, file_name=path.name[:255], path=job_id, size=size)
        claimed = await db.write(claim_import, [job_id])
        if claimed is not None:  # else a running server has claimed it and imports it
            await importer.run(claimed)
        while (job := await db.read(find_import, job_id)).ended_at is None:  # noqa: ASYNC110 - another process ends it
            await asyncio.sleep(0.5)
        return job
    finally:
        await db.close()
