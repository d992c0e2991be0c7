"""The application of all commands, and how their errors become one sentence and an exit code."""

import os
import sqlite3
import sys
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import exc

from tertulia import __version__
from tertulia.cli import audit, data, database, health, keys, quota, registry, security, serve, users
from tertulia.data_folder import DataFolderInUse
from tertulia.db.errors import describe_unreachable
from tertulia.db.sqlite_file import DatabaseDamaged
from tertulia.errors import AppError, SettingsError
from tertulia.settings import load_settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="A self-hosted AI workspace.",
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve_command)
app.command("health")(health.health_command)
app.command("backup")(database.backup_command)
app.command("restore")(database.restore_command)
app.command("export")(data.export_command)
app.command("import")(data.import_command)
app.command("audit")(audit.audit_command)
app.command("demo")(data.demo_command)
app.add_typer(database.app, name="db")
app.add_typer(users.app, name="user")
app.add_typer(quota.app, name="quota")
app.add_typer(keys.app, name="keys")
app.add_typer(security.app, name="security")
app.add_typer(registry.app, name="models")


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"tertulia {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Run Tertulia, a self-hosted AI workspace."""
    del version  # its callback prints it


def main() -> None:
    """Run the command line and exit."""
    try:
        app()
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if not isinstance(error, DataFolderInUse) else 1)
    except AppError as error:
        print(error.detail, file=sys.stderr)
        sys.exit(1)
    except (exc.OperationalError, exc.InterfaceError) as error:
        print(describe_unreachable(error), file=sys.stderr)
        sys.exit(1)
    except (exc.DatabaseError, sqlite3.DatabaseError) as error:
        problem = getattr(error, "orig", None) or error
        if type(problem) is not sqlite3.DatabaseError:  # its subclasses are faults of a statement
            raise
        path = load_settings().sqlite_path
        print(DatabaseDamaged(path or Path("of this instance"), f"{problem}."), file=sys.stderr)
        sys.exit(1)
    except ValueError as error:  # pydantic's, for a wrong argument
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        os._exit(130)
