"""`tertulia db`, `backup` and `restore`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tertulia.accounts.deletion import find_leftovers
from tertulia.accounts.revocations import Revocation
from tertulia.billing.recounts import find_wrong_sums
from tertulia.chat.counters import find_wrong_counters, find_wrong_totals
from tertulia.cli.running import upgrade
from tertulia.clock import now
from tertulia.data_folder import locked_data_folder
from tertulia.db.check import Report, check_database
from tertulia.db.opening import plain_engine
from tertulia.db.sqlite_file import DatabaseDamaged, remove_checksums
from tertulia.errors import SettingsError
from tertulia.settings import Settings, load_settings
from tertulia.transfer.backup import Summary, back_up, restore, try_restore
from tertulia.transfer.backup_record import note_backup

app = typer.Typer(no_args_is_help=True, help="Upgrade and check the database.")
RECOUNTS = (find_wrong_counters, find_wrong_totals, find_wrong_sums, find_leftovers)


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
    settings = load_settings()
    try:
        engine = plain_engine(settings, writes=False)
    except DatabaseDamaged as error:
        report = Report(findings=[str(error)])
    else:
        try:
            report = check_database(engine, RECOUNTS, sqlite_path=settings.sqlite_path)
        finally:
            engine.dispose()
    for note in report.notes:
        typer.echo(f"Note: {note}")
    for finding in report.findings:
        typer.echo(f"Fault: {finding}")
    typer.echo("No faults." if not report.findings else f"{len(report.findings)} faults.")
    raise typer.Exit(1 if report.findings else 0)


@app.command("accept")
def accept_command() -> None:
    """Accept an SQLite file that was changed while the server was stopped, by a program or by a fault of the disk."""
    settings = load_settings()
    if settings.sqlite_path is None:
        raise SettingsError("PostgreSQL checks its own pages. There is nothing to accept.")
    with locked_data_folder(settings):
        remove_checksums(settings.sqlite_path)
    typer.echo("The file is accepted as it is. Run `tertulia db check` to see what is wrong with it.")


def backup_command(
    path: Annotated[Path, typer.Argument(help="The file to write, such as tertulia-2026-11-22.zip.")],
) -> None:
    """Write everything to one file and verify it. The server may run. The key ring is not included: keep a copy of it."""
    settings = load_settings()
    summary = back_up(settings, path, now=now())
    _note(settings, "last_backup", path, summary)
    typer.echo(
        f"{path}: {sum(summary.rows.values())} rows in {len(summary.rows)} tables, {summary.files} files, verified."
    )


def restore_command(
    path: Annotated[Path, typer.Argument(help="A file written by `tertulia backup`.")],
    journal: Annotated[
        Path | None,
        typer.Option(help="The `revocations.jsonl` of the old data folder. Default: the one in this data folder."),
    ] = None,
    drop_secrets: Annotated[
        bool, typer.Option(help="Restore without the secrets whose key is lost, such as provider keys.")
    ] = False,
    is_test: Annotated[
        bool, typer.Option("--test", help="Restore into a temporary folder, check it, and delete it again.")
    ] = False,
) -> None:
    """Fill an empty instance from a backup of this or an older version and either database, and check it.

    All users must sign in again. What was revoked since the backup is revoked again. With --test the server may run.
    """
    settings = load_settings()
    if is_test:
        summary = try_restore(settings, path, RECOUNTS, now=now(), drops_secrets=drop_secrets)
        _note(settings, "last_tested_restore", path, summary)
        typer.echo(
            f"{path} can be restored: {sum(summary.rows.values())} rows and {summary.files} files from "
            f"{summary.made_at:%Y-%m-%d %H:%M} were restored, checked and deleted again."
        )
        return
    with locked_data_folder(settings):
        restored = restore(settings, path, RECOUNTS, now=now(), journal=journal, drops_secrets=drop_secrets)
    summary = restored.summary
    typer.echo(
        f"Restored {sum(summary.rows.values())} rows and {summary.files} files from the backup of "
        f"{summary.made_at:%Y-%m-%d %H:%M}."
    )
    typer.echo("All sessions and API tokens are over. Users sign in again.")
    if not restored.has_journal:
        typer.echo(
            "There is no revocation journal, so what was revoked since the backup is not known. Review passwords, "
            f"deactivated users and the {restored.links} public links, or restore again with --journal."
        )
    for revocation in restored.revocations:
        typer.echo(f"  revoked again: {_describe(revocation)} ({revocation.at:%Y-%m-%d %H:%M})")


def _note(
    settings: Settings, kind: Literal["last_backup", "last_tested_restore"], path: Path, summary: Summary
) -> None:
    rows = sum(summary.rows.values())
    note_backup(settings.data, kind, path, at=now(), made_at=summary.made_at, rows=rows, files=summary.files)


def _describe(revocation: Revocation) -> str:
    what = {
        "session.revoke": "session",
        "api_token.revoke": "API token",
        "share.revoke": "share",
        "user.inactive": "deactivated user",
        "user.suspended": "suspended user",
        "user.active": "nothing, but activated again: user",
        "user.password": "old password (set a new one with `tertulia user reset-password`) of user",
        "user.role": "changed role, which you must check, of user",
    }
    return f"{what[revocation.action]} {revocation.entity_id}"
