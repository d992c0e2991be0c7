"""`tertulia db`, `backup` and `restore`."""

from pathlib import Path
from typing import Annotated

import typer

from tertulia.chat.counters import find_wrong_counters, find_wrong_totals
from tertulia.cli.running import upgrade
from tertulia.clock import now
from tertulia.data_folder import locked_data_folder
from tertulia.db.check import check_database
from tertulia.db.opening import plain_engine
from tertulia.keyring import UnknownKey, find_keyring
from tertulia.secret_rotation import require_keys
from tertulia.settings import load_settings
from tertulia.transfer.backup import back_up, restore

app = typer.Typer(no_args_is_help=True, help="Upgrade and check the database.")
RECOUNTS = (find_wrong_counters, find_wrong_totals)


@app.command("upgrade")
def upgrade_command() -> None:
    """Upgrade the schema to this version, after a backup. The server does this itself when it starts."""
    settings = load_settings()
    with locked_data_folder(settings):
        state = upgrade(settings)
    typer.echo("The schema is current." if state == "current" else f"Done: the schema was {state} and is current now.")


@app.command("check")
def check_command() -> None:
    """Check foreign keys, indexes, counters and, on SQLite, the file. Exits with 1 if there is a fault."""
    engine = plain_engine(load_settings(), writes=False)
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


def backup_command(
    path: Annotated[Path, typer.Argument(help="The file to write, such as tertulia-2026-11-22.zip.")],
) -> None:
    """Write everything to one file and verify it. The server may run. The key ring is not included: keep a copy of it."""
    summary = back_up(load_settings(), path, now=now())
    typer.echo(
        f"{path}: {sum(summary.rows.values())} rows in {len(summary.rows)} tables, {summary.files} files, verified."
    )


def restore_command(path: Annotated[Path, typer.Argument(help="A file written by `tertulia backup`.")]) -> None:
    """Fill an empty instance from a backup of this or an older version and either database, and check it."""
    settings = load_settings()
    with locked_data_folder(settings):
        summary = restore(settings, path, RECOUNTS, now=now())
        engine = plain_engine(settings, writes=False)
        try:
            require_keys(engine, find_keyring(settings.secret_keys, settings.data))
        except UnknownKey:
            typer.echo("Note: the provider keys need the key ring that they were encrypted with. Restore it too.")
        finally:
            engine.dispose()
    typer.echo(
        f"Restored {sum(summary.rows.values())} rows and {summary.files} files from the backup of "
        f"{summary.made_at:%Y-%m-%d %H:%M}."
    )
